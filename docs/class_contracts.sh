#!/usr/bin/env bash
# Doxygen's filter of headers: each class repeats the contract at the head of its header. Lines keep their numbers.
sed -E "s|^class [A-Z][A-Za-z]+ .*\{\$|/** @copydetails ${1##*/} */ &|" "$1"
