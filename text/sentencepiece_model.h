#pragma once

#include <string>
#include <string_view>

namespace bifocal::text {

// Checks a serialised ModelProto (sentencepiece_model.proto) for what libsentencepiece 0.1.97 takes
// on trust: it walks the double array of the normalisation rules without bounds, keeps at most 32
// matches of it on its stack, reads rules as C strings, and cuts texts at the ends of pieces.
// Throws Error(kInvalidBundle) that names `source` and what is wrong. Linear in the model's size.
void check_sentencepiece_model(std::string_view model, const std::string& source);

}  // namespace bifocal::text
