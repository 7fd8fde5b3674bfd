# Writes the files of a folder into a C++ source that defines bifocal::http::all_assets():
#   cmake -D FOLDER=api/http/assets -D OUTPUT=assets.cpp -P cmake/embed_assets.cmake
file(GLOB files "${FOLDER}/*")
list(SORT files)
set(types ".html=text/html\; charset=utf-8" ".css=text/css\; charset=utf-8"
          ".js=text/javascript\; charset=utf-8" ".svg=image/svg+xml")
set(arrays "")
set(table "")
set(index 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  get_filename_component(extension ${file} LAST_EXT)
  set(type "")
  foreach(pair IN LISTS types)
    if(pair MATCHES "^\\${extension}=(.*)$")
      set(type "${CMAKE_MATCH_1}")
    endif()
  endforeach()
  if(type STREQUAL "")
    message(FATAL_ERROR "${file}: no content type is known for ${extension}")
  endif()
  if(name STREQUAL "index.html")
    set(path "/")
  elseif(extension STREQUAL ".html")
    string(REGEX REPLACE "\\.html$" "" path "/${name}")
  else()
    set(path "/assets/${name}")
  endif()
  file(READ ${file} hex HEX)
  file(SHA256 ${file} sum)
  string(SUBSTRING ${sum} 0 16 sum)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" literal "${hex}")
  # In pieces: compilers warn of very long string literals.
  string(LENGTH "${literal}" length)
  set(at 0)
  set(pieces "")
  while(at LESS length)
    string(SUBSTRING "${literal}" ${at} 4000 piece)
    string(APPEND pieces "    \"${piece}\"\n")
    math(EXPR at "${at} + 4000")
  endwhile()
  math(EXPR bytes "${length} / 4")
  string(APPEND arrays "constexpr char kAsset${index}[] =\n${pieces}    ;\n")
  string(APPEND table
    "    {\"${path}\", \"${type}\", {kAsset${index}, ${bytes}}, \"\\\"${sum}\\\"\"},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Made by cmake/embed_assets.cmake.
#include \"assets.h\"

namespace bifocal::http {
namespace {

${arrays}
constexpr Asset kAssets[] = {
${table}};

}  // namespace

std::span<const Asset> all_assets() { return kAssets; }

}  // namespace bifocal::http
")
