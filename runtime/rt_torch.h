/* Checkpoints of PyTorch (.pt, .pth, as torch.save writes them since 1.6): a zip archive with a
 * pickle that describes the tensors and one file of raw bytes for each storage.
 *
 *     rt_tensors *file = rt_torch_open("convnextv2_atto.pt", &error);
 *     ... as with rt_tensors_open ...
 *     rt_tensors_close(file);
 *
 * Nothing in the file is executed: the pickle is read by a machine that knows tensors, dicts,
 * lists, numbers and strings, and refuses anything else by name (rt_pickle.h). The tensors are
 * those of the dict under "model", else under "state_dict", else of the outermost dict; whatever
 * stands beside them (optimizer, epoch) is read over. They stand in the order of that dict. Data
 * stay in the mapped file, but for tensors that are not stored row by row, which are copied, at
 * most as many bytes as the file has. Checksums of the archive are checked. A file never crashes
 * the reader.
 */
#ifndef RT_TORCH_H
#define RT_TORCH_H

#include "rt_safetensors.h"

/* Whether the file begins as a zip archive or a bare pickle does, so that rt_torch_open is the one
 * to call, if only for its message. False if it cannot be read. */
bool rt_torch_detect(const char *path);
rt_tensors *rt_torch_open(const char *path, rt_error *error);
/* The same on bytes at hand, which must outlive the result; `name` stands in messages. */
rt_tensors *rt_torch_parse(const char *name, const void *bytes, size_t size, rt_error *error);

#endif
