#include "experiments/command_line.h"

int main(int argc, char** argv) { return foretell::run_command_line(argc, argv); }
