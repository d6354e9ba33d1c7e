/*
 * Linux' <sys/time.h>, and FreeBSD's binary fractions of a second.
 */
#include_next <sys/time.h>

#ifndef _BPFSIM_SYS_TIME_H_
#define _BPFSIM_SYS_TIME_H_

#include <stdint.h>
#include <time.h>

struct bintime {
	time_t		sec;
	uint64_t	frac;	/* in 1/2^64 of a second */
};

/*
 * As on FreeBSD, the low half of the fraction is not looked at: what comes
 * out is at most one unit too small.
 */
static inline void
bintime2timespec(const struct bintime *bt, struct timespec *ts)
{
	ts->tv_sec = bt->sec;
	ts->tv_nsec = (long)((1000000000ULL * (uint32_t)(bt->frac >> 32)) >> 32);
}

static inline void
bintime2timeval(const struct bintime *bt, struct timeval *tv)
{
	tv->tv_sec = bt->sec;
	tv->tv_usec = (long)((1000000ULL * (uint32_t)(bt->frac >> 32)) >> 32);
}

#endif /* _BPFSIM_SYS_TIME_H_ */
