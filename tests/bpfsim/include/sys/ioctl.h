/*
 * Linux' <sys/ioctl.h>, and FreeBSD's ioctls on interfaces that Linux lacks,
 * with amd64's numbers.
 */
#include_next <sys/ioctl.h>

#ifndef _BPFSIM_SYS_IOCTL_H_
#define _BPFSIM_SYS_IOCTL_H_

#include <sys/ioccom.h>

#define SIOCSIFMEDIA	BSD_IOWR('i', 55, 32)
#define SIOCGIFMEDIA	BSD_IOWR('i', 56, 48)
#define SIOCIFDESTROY	BSD_IOW('i', 121, 32)
#define SIOCIFCREATE2	BSD_IOWR('i', 124, 32)

#endif /* _BPFSIM_SYS_IOCTL_H_ */
