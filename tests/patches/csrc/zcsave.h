/*
 * What the parts of zcsave have in common.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

/* a growing piece of memory */
struct mem {
	u_char *p;
	size_t n, size;
};

extern unsigned seed;
void	die(const char *fmt, ...);
void	put(struct mem *m, const void *p, size_t n);
int	rnd(int n);
void	make_noise(void);
void	make_savefile(struct mem *m);
