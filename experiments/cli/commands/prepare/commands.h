// Commands that make or convert texts, tokenizers and weights; no model is run.
//
// Contract: one function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands::prepare {

void add_datastore_command(util::Command app);
void add_inflate_command(util::Command app);
void add_tasks_command(util::Command app);
void add_tokenize_command(util::Command app);
void add_train_tokenizer_command(util::Command app);

}  // namespace foretell::cli::commands::prepare
