// One function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell {

void add_generate_command(Command app);
void add_score_command(Command app);
void add_tokenize_command(Command app);
void add_run_command(Command app);
void add_check_command(Command app);
void add_list_command(Command app);
void add_make_random_command(Command app);
void add_bench_command(Command app);
void add_certify_command(Command app);
void add_compare_command(Command app);
void add_diff_command(Command app);
void add_import_command(Command app);
void add_inflate_command(Command app);
void add_merge_command(Command app);
void add_new_command(Command app);
void add_overlap_command(Command app);
void add_plot_command(Command app);
void add_report_command(Command app);
void add_table_command(Command app);
void add_tasks_command(Command app);
void add_datastore_command(Command app);
void add_train_command(Command app);
void add_train_tokenizer_command(Command app);
void add_tree_command(Command app);

}  // namespace foretell
