/*
 * How BSD numbers its ioctls: direction, length of the argument, group, number.
 * Under names of its own, because Linux' <sys/ioctl.h> gives other meanings to
 * _IO() and its relatives.
 */
#ifndef _SYS_IOCCOM_H_
#define _SYS_IOCCOM_H_

#define BSD_IOC_VOID	0x20000000UL
#define BSD_IOC_OUT	0x40000000UL
#define BSD_IOC_IN	0x80000000UL
#define BSD_IOC(dir, group, number, length)				\
	((dir) | (((unsigned long)(length) & 0x1fff) << 16) |		\
	((unsigned long)(group) << 8) | (unsigned long)(number))
#define BSD_IO(g, n)		BSD_IOC(BSD_IOC_VOID, g, n, 0)
#define BSD_IOR(g, n, length)	BSD_IOC(BSD_IOC_OUT, g, n, length)
#define BSD_IOW(g, n, length)	BSD_IOC(BSD_IOC_IN, g, n, length)
#define BSD_IOWR(g, n, length)	BSD_IOC(BSD_IOC_IN | BSD_IOC_OUT, g, n, length)

#ifndef IOCPARM_LEN
#define IOCPARM_LEN(cmd)	(((cmd) >> 16) & 0x1fff)
#endif

#endif /* _SYS_IOCCOM_H_ */
