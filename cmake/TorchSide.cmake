# Which strategy files get LibTorch: those whose #include lines reach it, directly or through our own headers. Every other strategy file is
# compiled without any LibTorch include folder, so it stays quick to compile.
#
# A file also reaches LibTorch where it includes the header of a .cpp that does, because it calls what is defined there. So the files that do not
# can be linked without LibTorch.
#
# There is no list and no naming convention to keep: the file itself says it. Model-free folders (verifiers, length policies) are not
# asked; there, including LibTorch is a compile error.

# TRUE in `out` if `file` reaches a LibTorch header. Each header is read once in a configure.
function(foretell_reaches_torch file out)
  get_property(known GLOBAL PROPERTY "foretell_torch:${file}")
  if(NOT "${known}" STREQUAL "")
    set(${out} ${known} PARENT_SCOPE)
    return()
  endif()
  set_property(GLOBAL PROPERTY "foretell_torch:${file}" FALSE)  # ends a cycle of includes; corrected below
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  file(STRINGS "${file}" includes REGEX "^[ \t]*#[ \t]*include[ \t]*[<\"]")
  set(reaches FALSE)
  foreach(line IN LISTS includes)
    string(REGEX MATCH "[<\"]([^>\"]+)[>\"]" matched "${line}")
    set(name "${CMAKE_MATCH_1}")
    if(name MATCHES "^(ATen|torch|c10|caffe2)/" OR name STREQUAL "framework/pch.h")
      set(reaches TRUE)
      break()
    endif()
    string(REGEX REPLACE "\\.h$" ".cpp" behind "${PROJECT_SOURCE_DIR}/${name}")
    foreach(other IN ITEMS "${PROJECT_SOURCE_DIR}/${name}" "${behind}")
      if(NOT reaches AND NOT other STREQUAL file AND EXISTS "${other}" AND (other MATCHES "\\.h$" OR file MATCHES "\\.cpp$"))
        foretell_reaches_torch("${other}" reaches)
      endif()
    endforeach()
    if(reaches)
      break()
    endif()
  endforeach()
  set_property(GLOBAL PROPERTY "foretell_torch:${file}" ${reaches})
  set(${out} ${reaches} PARENT_SCOPE)
endfunction()

# Splits `files` into `<prefix>_plain` and `<prefix>_torch`.
function(foretell_split_by_torch prefix files)
  set(plain "")
  set(torch "")
  foreach(file IN LISTS files)
    foretell_reaches_torch("${file}" reaches)
    if(reaches)
      list(APPEND torch "${file}")
    else()
      list(APPEND plain "${file}")
    endif()
  endforeach()
  set(${prefix}_plain "${plain}" PARENT_SCOPE)
  set(${prefix}_torch "${torch}" PARENT_SCOPE)
endfunction()
