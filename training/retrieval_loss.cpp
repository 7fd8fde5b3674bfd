#include "training/retrieval_loss.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "nn/weights.h"
#include "row_index.h"

namespace bifocal::training {
namespace {

constexpr double kLikelyShare = 0.5;  // of the false pairs, drawn by likeness
constexpr double kAgainstImage = 0.5;

CaptionStates gather(const CaptionStates& states, const ProcessGroup& group) {
  if (group.size() == 1) return states;
  return {group.gather(states.tokens), group.gather(states.pooled),
          group.gather(states.valid.to(at::kByte)).to(at::kBool)};
}

ImageStates gather(const ImageStates& states, const ProcessGroup& group) {
  if (group.size() == 1) return states;
  return {group.gather(states.tokens), group.gather(states.pooled),
          states.cells.defined() ? group.gather(states.cells) : at::Tensor(), states.grid_height,
          states.grid_width};
}

FalsePairs share_of(const FalsePairs& pairs, const ProcessGroup& group) {
  const auto count = static_cast<std::int64_t>(pairs.pair.size());
  const std::int64_t begin = count * group.rank() / group.size();
  const std::int64_t end = count * (group.rank() + 1) / group.size();
  const auto part = [begin, end](const std::vector<std::int64_t>& rows) {
    return std::vector<std::int64_t>(rows.begin() + begin, rows.begin() + end);
  };
  return {part(pairs.pair), part(pairs.caption), part(pairs.image)};
}

// Another row than `own`, by weights [n].
std::int64_t draw(const float* weights, std::int64_t count, std::int64_t own, Random& random) {
  double total = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (i != own) total += static_cast<double>(weights[i]);
  double left = random.uniform() * total;
  std::int64_t last = own == 0 ? 1 : 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (i == own) continue;
    last = i;
    left -= static_cast<double>(weights[i]);
    if (left < 0) break;
  }
  return last;
}

// InfoNCE of logits: [b, B] of this rank's rows, whose own are the diagonal from `first` on.
at::Tensor own_among_all(const at::Tensor& logits, std::int64_t first) {
  return -at::log_softmax(logits, 1).diagonal(first).mean();
}

// The divergence of the distributions that the rows of `logits` give from those of the teacher's.
at::Tensor divergence(const at::Tensor& logits, const at::Tensor& taught) {
  const at::Tensor target = at::log_softmax(taught, 1);
  return (target.exp() * (target - at::log_softmax(logits, 1))).sum(1).mean();
}

// The same of two outcomes, of which `logits` and `taught` are the log odds. Element by element.
at::Tensor binary_divergence(const at::Tensor& logits, const at::Tensor& taught) {
  const at::Tensor likely = at::sigmoid(taught);
  return likely * (at::softplus(-logits) - at::softplus(-taught)) +
         (1 - likely) * (at::softplus(logits) - at::softplus(taught));
}

}  // namespace

at::Tensor info_nce(const at::Tensor& a, const at::Tensor& b, const at::Tensor& scale,
                    const ProcessGroup& group) {
  const auto own_against_all = [&](const at::Tensor& own, const at::Tensor& others) {
    return own_among_all(at::matmul(own, group.gather(others).t()) * scale,
                         group.rank() * own.size(0));
  };
  return 0.5 * (own_against_all(a, b) + own_against_all(b, a));
}

at::Tensor teacher_divergence(const at::Tensor& a, const at::Tensor& b, const at::Tensor& scale,
                              const at::Tensor& taught_a, const at::Tensor& taught_b,
                              double temperature, const ProcessGroup& group) {
  const auto own_against_all = [&](const at::Tensor& own, const at::Tensor& others,
                                   const at::Tensor& taught, const at::Tensor& taught_others) {
    return divergence(at::matmul(own, group.gather(others).t()) * scale,
                      at::matmul(taught, group.gather(taught_others).t()) / temperature);
  };
  return 0.5 *
         (own_against_all(a, b, taught_a, taught_b) + own_against_all(b, a, taught_b, taught_a));
}

void add_teacher(Loss& loss, const at::Tensor& image, const at::Tensor& first,
                 const at::Tensor& second, const at::Tensor& scale, const TeacherWeights& teacher,
                 const Lesson& lesson, const ProcessGroup& group) {
  if (!lesson.image.defined()) return;
  const auto diverging = [&](const at::Tensor& text, const at::Tensor& taught) {
    return teacher_divergence(image, text, scale, lesson.image, taught, teacher.temperature, group);
  };
  const at::Tensor mean = 0.5 * (diverging(first, lesson.first) + diverging(second, lesson.second));
  loss.total = loss.total + teacher.weight * mean;
  loss.parts["teacher"] = mean.item<double>();
}

namespace {

// By what the match logit is without its head. `own` has this rank's vectors of either tower.
at::Tensor late_loss(const fusion::FusionTransformerImpl& fusion, const ImageStates& images,
                     const CaptionStates& captions, const fusion::FusionOutput& own,
                     const ProcessGroup& group, const Lesson& lesson,
                     const TeacherWeights& teacher) {
  const at::Tensor scale = nn::state_dict_of(fusion).at("match_scale");
  const auto logits = [&](const ImageStates& shown, const at::Tensor& vision,
                          const CaptionStates& told, const at::Tensor& text) {
    return at::matmul(vision, text.t()) * scale +
           fusion.late_match_of_all(shown.tokens, told.tokens, told.valid);
  };
  const std::int64_t first = group.rank() * own.vision.size(0);
  const at::Tensor of_images = logits(images, own.vision, gather(captions, group),
                                      group.gather(own.text));  // [b, B]
  const at::Tensor of_captions =
      group.size() == 1
          ? of_images.t()
          : logits(gather(images, group), group.gather(own.vision), captions, own.text).t();
  at::Tensor loss = 0.5 * (own_among_all(of_images, first) + own_among_all(of_captions, first));
  if (!lesson.image.defined()) return loss;
  const auto taught = [&](const at::Tensor& rows, const at::Tensor& others) {
    return at::matmul(rows, group.gather(others).t()) / teacher.temperature;  // [b, B]
  };
  return loss + 0.5 * teacher.weight *
                    (divergence(of_images, taught(lesson.image, lesson.first)) +
                     divergence(of_captions, taught(lesson.first, lesson.image)));
}

void add_match_contrasts(Loss& loss, const fusion::FusionTransformerImpl& fusion,
                         const ShownContrasts& contrasts, double weight,
                         const ProcessGroup& group) {
  const ImageStates all = gather(contrasts.images, group);
  const BatchContrasts& drawn = contrasts.drawn;
  at::Tensor difference = at::zeros({0}, all.tokens.options());
  if (!drawn.matched.empty()) {
    const auto index = [&all](const std::vector<std::int64_t>& rows) {
      return index_of(rows, all.tokens.device());
    };
    const at::Tensor rows = index(drawn.matched);  // [p]
    const ImageStates own = select(all, index(drawn.image).index_select(0, rows));
    const ImageStates other = select(all, index(drawn.partner).index_select(0, rows));
    const auto margin = [&, truths = select(contrasts.truths, rows),
                         lies = select(contrasts.lies, rows)](const ImageStates& images) {
      const auto match = [&](const CaptionStates& texts) {
        return fusion.match(fusion.forward(fusion_input(&images, &texts)));
      };
      return match(truths) - match(lies);
    };
    difference = margin(own) - margin(other);
  }
  add_double_difference(loss, difference, drawn.all_matched, weight, "match contrast", group);
}

}  // namespace

void add_cosine_contrasts(Loss& loss, const at::Tensor& images, const at::Tensor& truths,
                          const at::Tensor& lies, const at::Tensor& scale,
                          const BatchContrasts& drawn, double weight, const ProcessGroup& group) {
  const at::Tensor all = group.gather(images);
  const auto rows = [&all](const std::vector<std::int64_t>& places) {
    return all.index_select(0, index_of(places, all.device()));
  };
  const at::Tensor turned = rows(drawn.image) - rows(drawn.partner);  // [P, e]
  add_double_difference(loss, (turned * (truths - lies)).sum(1) * scale.detach(), drawn.all, weight,
                        "contrast", group);
}

ImageStates select(const ImageStates& states, const at::Tensor& rows) {
  return {states.tokens.index_select(0, rows), states.pooled.index_select(0, rows),
          states.cells.defined() ? states.cells.index_select(0, rows) : at::Tensor(),
          states.grid_height, states.grid_width};
}

CaptionStates select(const CaptionStates& states, const at::Tensor& rows) {
  return {states.tokens.index_select(0, rows), states.pooled.index_select(0, rows),
          states.valid.index_select(0, rows)};
}

fusion::FusionInput fusion_input(const ImageStates* images, const CaptionStates* captions) {
  fusion::FusionInput input;
  if (images != nullptr) {
    input.vision_tokens = images->tokens;
    input.vision_pooled = images->pooled;
    input.vision_cells = images->cells;
    input.grid_height = images->grid_height;
    input.grid_width = images->grid_width;
  }
  if (captions != nullptr) {
    input.text_tokens = captions->tokens;
    input.text_pooled = captions->pooled;
    input.text_valid = captions->valid;
  }
  return input;
}

Loss retrieval_loss(const fusion::FusionTransformerImpl& fusion, const ImageStates& images,
                    const CaptionStates& first, const CaptionStates& second,
                    const RetrievalWeights& weights,
                    const std::function<FalsePairs(const at::Tensor& cosines)>& choose,
                    const ProcessGroup& group, const Lesson& lesson,
                    const ShownContrasts& contrasts) {
  const auto embed = [&fusion](const ImageStates* image, const CaptionStates* caption) {
    return fusion.forward(fusion_input(image, caption));
  };
  const auto contrast = [scale = fusion.logit_scale().exp(), &group](const at::Tensor& a,
                                                                     const at::Tensor& b) {
    return info_nce(a, b, scale, group);
  };
  const at::Tensor image = embed(&images, nullptr).embedding;   // [b, e]
  const at::Tensor text_1 = embed(nullptr, &first).embedding;   // [b, e]
  const at::Tensor text_2 = embed(nullptr, &second).embedding;  // [b, e]
  const at::Tensor pairs = 0.5 * (contrast(image, text_1) + contrast(image, text_2));
  const at::Tensor captions = contrast(text_1, text_2);
  Loss loss{pairs + weights.caption * captions,
            {{"pairs", pairs.item<double>()}, {"captions", captions.item<double>()}}};
  add_teacher(loss, image, text_1, text_2, fusion.logit_scale().exp(), weights.teacher, lesson,
              group);
  if (contrasts.drawn.all > 0) {
    const auto vectors = [&](const CaptionStates& texts) {
      return texts.pooled.defined() ? embed(nullptr, &texts).embedding : image.slice(0, 0, 0);
    };
    add_cosine_contrasts(loss, image, vectors(contrasts.truths), vectors(contrasts.lies),
                         fusion.logit_scale().exp(), contrasts.drawn, weights.contrast, group);
    add_match_contrasts(loss, fusion, contrasts, weights.contrast, group);
  }
  if (weights.fused == 0 && weights.match == 0 && weights.late == 0) return loss;

  const fusion::FusionOutput both = embed(&images, &first);
  if (weights.late > 0) {
    const at::Tensor late = late_loss(fusion, images, first, both, group, lesson, weights.teacher);
    loss.total = loss.total + weights.late * late;
    loss.parts["late"] = late.item<double>();
  }
  if (weights.fused > 0) {
    const at::Tensor fused =
        contrast(both.embedding, text_2) + kAgainstImage * contrast(both.embedding, image);
    loss.total = loss.total + weights.fused * fused;
    loss.parts["fused"] = fused.item<double>();
  }
  if (weights.match > 0 && first.tokens.size(0) * group.size() > 1) {
    FalsePairs chosen;
    {
      const c10::NoGradGuard no_grad;
      chosen = choose(at::matmul(group.gather(image), group.gather(text_1).t()));
    }
    const auto all = static_cast<double>(chosen.pair.size());
    const auto mean = [&all, &group](const at::Tensor& of_share) {
      return of_share.sum() * (static_cast<double>(group.size()) / all);
    };
    chosen = share_of(chosen, group);
    const ImageStates images_of_all = gather(images, group);
    const CaptionStates captions_of_all = gather(first, group);
    const auto index = [device = image.device()](const std::vector<std::int64_t>& positions) {
      return index_of(positions, device);
    };
    const at::Tensor rows = index(chosen.pair);
    const ImageStates true_images = select(images_of_all, rows);
    const CaptionStates true_captions = select(captions_of_all, rows);
    const CaptionStates false_captions = select(captions_of_all, index(chosen.caption));
    const ImageStates false_images = select(images_of_all, index(chosen.image));
    const at::Tensor yes = group.gather(fusion.match(both)).index_select(0, rows);  // [p]
    const at::Tensor no_1 = fusion.match(embed(&true_images, &false_captions));     // [p]
    const at::Tensor no_2 = fusion.match(embed(&false_images, &true_captions));     // [p]
    const at::Tensor entropy =
        mean(at::softplus(-yes)) + 0.5 * (mean(at::softplus(no_1)) + mean(at::softplus(no_2)));
    const at::Tensor order =
        0.5 * (mean(at::softplus(no_1 - yes)) + mean(at::softplus(no_2 - yes)));
    loss.total = loss.total + weights.match * (entropy + weights.ranking * order);
    if (lesson.image.defined()) {
      const at::Tensor image_rows = group.gather(lesson.image);
      const at::Tensor text_rows = group.gather(lesson.first);
      const auto taught = [&](const std::vector<std::int64_t>& of_image,
                              const std::vector<std::int64_t>& of_text) {
        return (image_rows.index_select(0, index(of_image)) *
                text_rows.index_select(0, index(of_text)))
                   .sum(1) /
               weights.teacher.temperature;
      };
      const at::Tensor taught_yes = taught(chosen.pair, chosen.pair);
      const at::Tensor taught_order =
          0.5 *
          (mean(binary_divergence(yes - no_1, taught_yes - taught(chosen.pair, chosen.caption))) +
           mean(binary_divergence(yes - no_2, taught_yes - taught(chosen.image, chosen.pair))));
      loss.total =
          loss.total + weights.match * weights.ranking * weights.teacher.weight * taught_order;
      loss.parts["taught_ranking"] = taught_order.item<double>();
    }
    loss.parts["match"] = entropy.item<double>();
    loss.parts["ranking"] = order.item<double>();
  }
  return loss;
}

FalsePairs draw_false_pairs(const at::Tensor& cosines, double scale, std::int64_t pairs,
                            Random random) {
  const std::int64_t count = cosines.size(0);
  const at::Tensor by_image = at::softmax(cosines * scale, 1).contiguous();        // [B, B]
  const at::Tensor by_caption = at::softmax(cosines.t() * scale, 1).contiguous();  // [B, B]
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  random.shuffle(rows);
  rows.resize(static_cast<std::size_t>(std::min(pairs, count)));
  FalsePairs chosen;
  for (const std::int64_t row : rows) {
    const auto other = [&](const at::Tensor& likeness) {
      if (random.uniform() >= kLikelyShare) return other_row(count, row, random);
      return draw(likeness.const_data_ptr<float>() + row * count, count, row, random);
    };
    chosen.pair.push_back(row);
    chosen.caption.push_back(other(by_image));
    chosen.image.push_back(other(by_caption));
  }
  return chosen;
}

}  // namespace bifocal::training
