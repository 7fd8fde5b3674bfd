add_executable(bench_library library.cpp)
target_link_libraries(bench_library PRIVATE bifocal_library bifocal_core CLI11::CLI11 nlohmann_json::nlohmann_json)
bifocal_warnings(bench_library)
