# The kernels and what runs them, without LibTorch: included where they are compiled, for the tree and
# for the sanitizers. Each kernel source is compiled for its own instruction set, whatever the build is
# for, and runs only where kernels.cpp finds it. A product is one chain of additions: none may be
# regrouped.
set(kernel_sources)
foreach(file kernels memory steps team portable)
  list(APPEND kernel_sources ${CMAKE_CURRENT_LIST_DIR}/${file}.cpp)
endforeach()
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/portable.cpp PROPERTIES COMPILE_OPTIONS "-ffp-contract=off")
set(kernel_definitions)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(kernel_definitions BIFOCAL_X86_KERNELS)
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma)
  # GCC 12 warns of its own immintrin.h: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
  list(APPEND avx512 $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  foreach(file avx2 avx512 avx512_bf16 avx512_vnni amx)
    list(APPEND kernel_sources ${CMAKE_CURRENT_LIST_DIR}/${file}.cpp)
  endforeach()
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/avx512.cpp PROPERTIES COMPILE_OPTIONS "${avx512}")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/avx512_vnni.cpp PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512vnni")
  list(APPEND avx512_bf16 ${avx512} -mavx512bf16)
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/avx512_bf16.cpp PROPERTIES COMPILE_OPTIONS "${avx512_bf16}")
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/amx.cpp
                              PROPERTIES COMPILE_OPTIONS "${avx512_bf16};-mamx-tile;-mamx-bf16")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")  # little-endian; all have NEON
  set(kernel_definitions BIFOCAL_NEON_KERNELS)
  list(APPEND kernel_sources ${CMAKE_CURRENT_LIST_DIR}/neon.cpp)
  # vector_neon.h says what is fused. GCC would load all of a tile's A ahead of its multiplications, for
  # which the registers do not suffice.
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/neon.cpp PROPERTIES COMPILE_OPTIONS
                              "-ffp-contract=off;$<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>")
endif()
