#pragma once
// Everything is hidden in libbifocal.so but what is marked so.
#if defined(_WIN32)
#define BIFOCAL_EXPORT
#else
#define BIFOCAL_EXPORT __attribute__((visibility("default")))
#endif
