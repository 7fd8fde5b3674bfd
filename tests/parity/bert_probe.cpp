// bert_probe <model directory> <in.safetensors> <out.safetensors>
// For each case N, reads "N.ids" [B, L] and, where present, "N.types" and "N.valid", and writes the
// last hidden states of the trainable module as "N.module" and of the compiled one as "N.compiled".

#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <exception>
#include <string>

#include "core/safetensors.h"
#include "nn/weights.h"
#include "text/bert_checkpoint.h"

int main(int argc, char** argv) try {
  if (argc != 4) return 2;
  const c10::InferenceMode inference;
  const bifocal::text::Bert bert = bifocal::text::load_bert(argv[1]);
  const auto compiled = bert->compile(bifocal::nn::Precision::kFp32);
  const auto inputs = bifocal::nn::read_state_dict(bifocal::core::Safetensors::open(argv[2]));
  const auto input = [&inputs](const std::string& name) {
    const auto found = inputs.find(name);
    return found == inputs.end() ? at::Tensor() : found->second;
  };
  bifocal::nn::StateDict results;
  for (int i = 0; inputs.contains(std::to_string(i) + ".ids"); ++i) {
    const std::string name = std::to_string(i);
    const at::Tensor ids = input(name + ".ids");
    const at::Tensor types = input(name + ".types");
    const at::Tensor valid = input(name + ".valid");
    results[name + ".module"] = bert->forward(ids, types, valid);
    results[name + ".compiled"] = compiled.forward(ids, types, valid);
  }
  bifocal::nn::write_state_dict(argv[3], results, bifocal::core::DType::kF32);
} catch (const std::exception& error) {
  std::fprintf(stderr, "bert_probe: %s\n", error.what());
  return 1;
}
