# For imagenet_sample.py: an encoder's five likeliest classes of photographs.
add_executable(bench_imagenet_sample imagenet_sample.cpp)
set_target_properties(bench_imagenet_sample PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
target_link_libraries(bench_imagenet_sample PRIVATE bifocal_vision)
bifocal_warnings(bench_imagenet_sample)
