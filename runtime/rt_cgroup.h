/* What the control groups of Linux leave to this process, for both of their versions.
 *
 * A process belongs to a group in each hierarchy (/proc/self/cgroup), a hierarchy is mounted
 * somewhere
 * (/proc/self/mountinfo), and a group's limit holds for all groups below it, so every folder from
 * the process's own up to the mount point is asked. Inside a container the path may name a folder
 * that the container does not see; its mount point is then the group itself.
 *
 * `root` stands before every path that is read: "" for this machine, a made-up tree in tests.
 */
#ifndef RT_CGROUP_H
#define RT_CGROUP_H

#include <stdint.h>

/* Bytes that the groups still allow (file cache that can be dropped does not count as used);
 * INT64_MAX without a limit, 0 if it is used up. */
int64_t rt_cgroup_memory(const char *root);
/* Cores' worth of time that the groups allow, such as 1.5; 0 without a limit. */
double rt_cgroup_cores(const char *root);

#endif
