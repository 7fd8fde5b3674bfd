#pragma once

namespace bifocal::nn {

// What compile() may compute in.
enum class Precision { kFp32 };

}  // namespace bifocal::nn
