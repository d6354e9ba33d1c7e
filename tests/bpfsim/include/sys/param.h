/*
 * Linux' <sys/param.h>, and which FreeBSD this is meant to be.
 */
#include_next <sys/param.h>

#undef __FreeBSD_version
#define __FreeBSD_version 1302001
