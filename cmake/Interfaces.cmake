# The public headers: what a plug-in may include, and all that is installed. A change there makes plug-ins that were built before unfit; only two
# files see the hash that says so. The list is what the interfaces reach, which tests/cli/layering_test.py checks.
set(interface_headers
  framework/api/abi_tag.h framework/api/attention_policy.h framework/api/build_context.h framework/decoding/bases/composite_drafter.h framework/api/draft_tree.h
  framework/api/drafter.h framework/api/exit_policy.h framework/model/hidden.h framework/api/policy.h framework/api/rejection_walk.h framework/api/request.h framework/api/round.h framework/api/router.h
  framework/api/scores.h framework/api/verifier.h
  framework/core/config_value.h framework/core/error.h framework/core/parameters.h framework/core/plugin_call.h framework/core/registry.h
  framework/core/rng.h framework/core/types.h framework/core/vocabulary_map.h
  framework/sampling/distribution.h framework/sampling/sampling.h)
list(JOIN interface_headers "\n" interface_lines)
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/generated/interface_headers.txt" CONTENT "${interface_lines}\n")
set(interfaces_header "${PROJECT_BINARY_DIR}/generated/foretell_interfaces.h")
list(TRANSFORM interface_headers PREPEND "${PROJECT_SOURCE_DIR}/" OUTPUT_VARIABLE hashed_headers)
add_custom_command(OUTPUT "${interfaces_header}"
  DEPENDS ${hashed_headers} "${PROJECT_BINARY_DIR}/generated/interface_headers.txt" "${PROJECT_SOURCE_DIR}/cmake/InterfaceHash.cmake"
  COMMAND "${CMAKE_COMMAND}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DVERSION=${PROJECT_VERSION}" "-DOUTPUT=${interfaces_header}"
          "-DHEADERS=${PROJECT_BINARY_DIR}/generated/interface_headers.txt" -P "${PROJECT_SOURCE_DIR}/cmake/InterfaceHash.cmake"
  COMMAND "${CMAKE_COMMAND}" -E touch "${interfaces_header}" VERBATIM)
add_custom_target(foretell_interfaces DEPENDS "${interfaces_header}")
add_dependencies(foretell_framework_plugin foretell_interfaces)
set_source_files_properties(framework/plugin/abi.cpp framework/plugin/plugin.cpp framework/plugin/plugin_file.cpp PROPERTIES INCLUDE_DIRECTORIES "${PROJECT_BINARY_DIR}/generated")
