/*
 * FreeBSD's sysctl(3) by name, for the net.bpf tree alone.
 */
#ifndef _SYS_SYSCTL_H_
#define _SYS_SYSCTL_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define sysctlbyname	bpfsim_sysctlbyname

extern int sysctlbyname(const char *, void *, size_t *, const void *, size_t);

#ifdef __cplusplus
}
#endif

#endif /* _SYS_SYSCTL_H_ */
