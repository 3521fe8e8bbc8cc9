#include "framework/formats/imported.h"

#include "framework/core/error.h"
#include "framework/io/atomic_file.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats {

void write_imported(const ImportedCheckpoint& checkpoint, const std::filesystem::path& tokenizer,
                    const std::filesystem::path& out_dir) {
  const std::string kind = tokenizer.extension().string();
  if (kind != ".bin" && kind != ".model" && kind != ".json")
    fail("{}: not known as a tokenizer; expected a file .bin, .model or .json", tokenizer.string());
  const io::MappedFile tokenizer_bytes = io::MappedFile::open(tokenizer);
  io::make_folder(out_dir);
  StoredTensors tensors;
  for (const ImportedTensor& tensor : checkpoint.tensors)
    tensors[tensor.name] = {tensor.type, tensor.shape, tensor.bytes};
  write_safetensors(out_dir / "model.safetensors", tensors);
  io::write_file(out_dir / ("tokenizer" + kind), tokenizer_bytes.bytes());
  write_model_config(out_dir, checkpoint.config);
}

}  // namespace foretell::formats
