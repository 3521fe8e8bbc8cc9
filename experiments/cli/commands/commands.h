// One function a command: declares its options and says what to run when it has been chosen.
#pragma once

#include "experiments/util/command.h"

namespace foretell::cli::commands {

void add_efficiency_command(util::Command app);
void add_generate_command(util::Command app);
void add_score_command(util::Command app);
void add_tokenize_command(util::Command app);
void add_run_command(util::Command app);
void add_check_command(util::Command app);
void add_list_command(util::Command app);
void add_make_random_command(util::Command app);
void add_bench_command(util::Command app);
void add_certify_command(util::Command app);
void add_compare_command(util::Command app);
void add_diff_command(util::Command app);
void add_import_command(util::Command app);
void add_inflate_command(util::Command app);
void add_merge_command(util::Command app);
void add_new_command(util::Command app);
void add_overlap_command(util::Command app);
void add_plot_command(util::Command app);
void add_predict_command(util::Command app);
void add_report_command(util::Command app);
void add_roofline_command(util::Command app);
void add_table_command(util::Command app);
void add_tasks_command(util::Command app);
void add_datastore_command(util::Command app);
void add_train_command(util::Command app);
void add_train_tokenizer_command(util::Command app);
void add_tree_command(util::Command app);

}  // namespace foretell::cli::commands
