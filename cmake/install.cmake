# What `cmake --install` lays down: the command line, the shared library with its headers, its CMake
# package and pkg-config file, and the default bundle where it was made. The tree can be moved;
# LibTorch cannot: its place is kept in the run path, so that linking and running find it.
set(BIFOCAL_DEFAULT_BUNDLE ${PROJECT_SOURCE_DIR}/build/bundles/default CACHE PATH
    "The bundle that is installed with the command line")

# Not INSTALL_RPATH_USE_LINK_PATH: it leaves out what lies in the source tree, as .venv does.
set_target_properties(bifocal_shared PROPERTIES INSTALL_RPATH "$<TARGET_FILE_DIR:torch>")
install(TARGETS bifocal_shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
if(TARGET bifocal_cli)
  set_target_properties(bifocal_cli PROPERTIES INSTALL_RPATH "$<TARGET_FILE_DIR:torch>")
  install(TARGETS bifocal_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
endif()
install(DIRECTORY ${BIFOCAL_DEFAULT_BUNDLE}/
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bifocal/bundles/default COMPONENT bundle OPTIONAL)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/api/include/bifocal ${PROJECT_SOURCE_DIR}/core/include/bifocal
                  ${PROJECT_BINARY_DIR}/api/include/bifocal
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h")

include(CMakePackageConfigHelpers)
set(package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/bifocal)
set(generated ${CMAKE_CURRENT_BINARY_DIR}/package)
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/bifocalConfig.cmake.in ${generated}/bifocalConfig.cmake
  INSTALL_DESTINATION ${package_directory}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(
  ${generated}/bifocalConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${generated}/bifocalConfig.cmake ${generated}/bifocalConfigVersion.cmake
  DESTINATION ${package_directory} COMPONENT development)

file(RELATIVE_PATH prefix_from_pkgconfig
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/bifocal.pc.in ${generated}/bifocal.pc @ONLY)
install(FILES ${generated}/bifocal.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
