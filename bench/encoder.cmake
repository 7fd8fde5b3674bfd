# For compare.py: one encoder of ours, driven through standard input.
add_executable(bench_encoder encoder.cpp)
set_target_properties(bench_encoder PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
target_link_libraries(bench_encoder PRIVATE bifocal_library bifocal_vision bifocal_text bifocal_fusion nlohmann_json::nlohmann_json)
bifocal_warnings(bench_encoder)
