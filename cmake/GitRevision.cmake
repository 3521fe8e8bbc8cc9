# Run at every build: writes which commit is being built, and touches the file only when that has changed.
cmake_minimum_required(VERSION 3.25)

find_program(GIT git)
set(revision "unknown")
if(GIT)
  execute_process(COMMAND "${GIT}" rev-parse --short=12 HEAD WORKING_DIRECTORY "${SOURCE_DIR}" OUTPUT_VARIABLE sha
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    # Untracked files are not part of what was built on purpose (results, notes), so they do not make it dirty.
    execute_process(COMMAND "${GIT}" status --porcelain --untracked-files=no WORKING_DIRECTORY "${SOURCE_DIR}" OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
      set(revision "${sha}-dirty")
    else()
      set(revision "${sha}")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT "#define FORETELL_GIT_REVISION \"${revision}\"\n")
