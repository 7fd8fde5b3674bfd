add_executable(bench_kernels kernels.cpp)
set_target_properties(bench_kernels PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
target_link_libraries(bench_kernels PRIVATE bifocal_nn benchmark::benchmark)
bifocal_warnings(bench_kernels)
