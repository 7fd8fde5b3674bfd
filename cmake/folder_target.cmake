# bifocal_folder(<name> SOURCES ... LINKS ... [PRIVATE_LINKS ...] [TORCH])
# One folder, one target: its headers are seen only by the targets that link it, so an arrow the
# wrong way does not compile. TORCH links LibTorch.
# No precompiled header: <torch/nn.h> precompiles to 700 MB in 49 s and still costs 5 s a file, where
# <ATen/core/Tensor.h> costs 2 s and the dozen files that define modules 10 s each.
function(bifocal_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wconversion $<$<BOOL:${BIFOCAL_WERROR}>:-Werror>)
  # GCC 12 sees overlaps where strings are added: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105651
  target_compile_options(${target} PRIVATE
    $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
endfunction()

function(bifocal_folder name)
  cmake_parse_arguments(F "TORCH" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  set(target bifocal_${name})
  add_library(${target} STATIC ${F_SOURCES})
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/include)
    target_include_directories(${target} PUBLIC include)
  endif()
  target_link_libraries(${target} PUBLIC ${F_LINKS} PRIVATE ${F_PRIVATE_LINKS})
  bifocal_warnings(${target})
  if(F_TORCH)
    target_link_libraries(${target} PUBLIC ${TORCH_LIBRARIES})
  endif()
endfunction()
