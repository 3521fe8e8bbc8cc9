# Run at build time when a header that strategies may include has changed: writes FORETELL_INTERFACES, which plug-ins and libforetell must share.
#   cmake -DSOURCE_DIR=... -DVERSION=... -DOUTPUT=... -DHEADERS=list-file -P InterfaceHash.cmake
cmake_minimum_required(VERSION 3.25)

file(STRINGS "${HEADERS}" headers)
list(SORT headers)
set(hashes "")
foreach(header IN LISTS headers)
  file(READ "${SOURCE_DIR}/${header}" text)
  # A comment changes no interface.
  string(REGEX REPLACE "[ \t]*//[^\n]*" "" text "${text}")
  string(REGEX REPLACE "\n+" "\n" text "${text}")
  string(SHA256 hash "${text}")
  string(APPEND hashes "${header} ${hash}\n")
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING "${hash}" 0 12 hash)
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT "#define FORETELL_INTERFACES \"Foretell ${VERSION}, interfaces ${hash}\"\n")
