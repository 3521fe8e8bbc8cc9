// The command line as a whole: parses, runs one command, and turns whatever goes wrong into one line and an exit code.
//
// Contract: the only place that decides about exit codes.
//   0    done
//   2    the user's mistake (bad option, bad file, hostile input, unwritable output): "foretell: <message>" on standard
//   error 70   our mistake: a broken invariant, with its values 130  interrupted by Ctrl-C, after the current prompt
//   was finished and what is known was written
// A reader that closes our standard output early (`foretell list | head`) is no mistake: the command goes on, its
// output is dropped, the code is 0.
#pragma once

namespace foretell::cli {

int run_command_line(int argc, const char* const* argv);

}  // namespace foretell::cli
