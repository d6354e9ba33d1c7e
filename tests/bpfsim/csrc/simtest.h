/*
 * What the programs share that capture on the simulated /dev/bpf.
 *
 * Each has a list of cases.  `PROGRAM list` prints their names, `PROGRAM CASE`
 * runs one, prints what it saw, and exits with 0 if that's what was to be
 * seen.  A case that hangs is ended by SIGALRM.
 */
#ifndef SIMTEST_H
#define SIMTEST_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <net/bpf.h>

#include "../sim/bpfsim.h"

#define DEVICE	"em9"
#define HEADER	18	/* of a frame of bpfsim_flood(): addresses, type, number */

struct test_case {
	const char *name;
	void (*run)(void);
};

#define check(condition, ...) \
	do { if (!(condition)) fail(__LINE__, #condition, __VA_ARGS__); } while (0)

static void fail(int, const char *, const char *, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

static void
fail(int line, const char *condition, const char *fmt, ...)
{
	va_list ap;

	printf("FAILED at line %d (%s): ", line, condition);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(1);
}

static inline int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/*
 * CPU time of this process in milliseconds, without what the simulated kernel
 * has used.
 */
static inline int64_t
cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return ((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 -
	    bpfsim_kernel_cpu_ns() / 1000000);
}

/*
 * How long something may take that should take so many milliseconds: on a
 * busy machine, and with sanitizers, much longer, unless BPFSIM_STRICT says
 * that the machine has nothing else to do.
 */
static inline int64_t
within(int64_t ms)
{
	return (getenv("BPFSIM_STRICT") != NULL ? ms : ms + 1500);
}

static inline void
sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&t, &t) == -1 && errno == EINTR)
		;
}

/*
 * Whether packets are to be read with read(2): BPFSIM_READ is set.
 */
static inline int
read_mode(void)
{
	return (getenv("BPFSIM_READ") != NULL);
}

struct options {
	int timeout;
	int immediate;
	int buffer_size;
	int snaplen;
	int device_ready;	/* it has been added already */
};

/*
 * A capture that has been created, but not activated.
 */
static inline pcap_t *
create(const struct options *options)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *p;

	if (!options->device_ready) {
		check(bpfsim_add_interface(DEVICE, DLT_EN10MB, 9000) == 0,
		    "%s", strerror(errno));
	}
	check(bpfsim_set_sysctl("net.bpf.zerocopy_enable", !read_mode()) == 0,
	    "%s", strerror(errno));
	p = pcap_create(DEVICE, errbuf);
	check(p != NULL, "%s", errbuf);
	pcap_set_timeout(p, options->timeout);
	pcap_set_immediate_mode(p, options->immediate);
	if (options->buffer_size != 0)
		pcap_set_buffer_size(p, options->buffer_size);
	pcap_set_snaplen(p, options->snaplen != 0 ? options->snaplen : 65535);
	return (p);
}

static inline pcap_t *
open_device(const struct options *options)
{
	pcap_t *p = create(options);
	int status = pcap_activate(p);

	check(status == 0, "%d: %s", status, pcap_geterr(p));
	return (p);
}

/*
 * So many frames of this length, and they have arrived.
 */
static inline void
send_frames(int count, int length)
{
	if (count == 0)
		return;
	check(bpfsim_flood(DEVICE, (uint64_t)count, length, length, 1, 0) >= 0,
	    "%s", strerror(errno));
	check(bpfsim_drain(10000) == 0, "%s", strerror(errno));
}

/*
 * Is this frame whole, and which one is it?
 */
static inline uint32_t
number_of(const u_char *frame, uint32_t caplen)
{
	uint32_t number, i;

	check(caplen >= HEADER, "a frame of %u bytes", caplen);
	number = (uint32_t)frame[14] << 24 | (uint32_t)frame[15] << 16 |
	    (uint32_t)frame[16] << 8 | frame[17];
	for (i = HEADER; i < caplen; i++)
		check(frame[i] == (u_char)(number + i),
		    "byte %u of frame %u is %#x", i, number, frame[i]);
	return (number);
}

/*
 * What a callback has seen: frames that come in order, and which are missing.
 */
struct seen {
	uint32_t count;
	uint32_t next;		/* the number that is to come */
	uint32_t missing;
};

static inline void
see(struct seen *seen, const u_char *frame, uint32_t caplen)
{
	uint32_t number = number_of(frame, caplen);

	check(number >= seen->next, "frame %u came after %u", number,
	    seen->next - 1);
	seen->missing += number - seen->next;
	seen->next = number + 1;
	seen->count++;
}

static inline void
take(u_char *user, const struct pcap_pkthdr *h, const u_char *frame)
{
	see((struct seen *)user, frame, h->caplen);
}

static inline int
dispatch(pcap_t *p, struct seen *seen)
{
	return (pcap_dispatch(p, -1, take, (u_char *)seen));
}

/*
 * A callback during which more packets arrive, once.
 */
struct tail {
	struct seen seen;
	int more;
};

static inline void
take_and_send(u_char *user, const struct pcap_pkthdr *h, const u_char *frame)
{
	struct tail *tail = (struct tail *)user;

	see(&tail->seen, frame, h->caplen);
	if (tail->more > 0) {
		send_frames(tail->more, 100);
		tail->more = 0;
	}
}

/*
 * The next packets, however long it takes.
 */
static inline int
dispatch_some(pcap_t *p, int most, pcap_handler callback, void *user)
{
	int n;

	do {
		n = pcap_dispatch(p, most, callback, user);
	} while (n == 0);
	return (n);
}

static inline int
run_case(const struct test_case *cases, int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (; cases->name != NULL; cases++) {
		if (argc == 2 && strcmp(argv[1], "list") == 0)
			printf("%s\n", cases->name);
		else if (argc == 2 && strcmp(argv[1], cases->name) == 0) {
			const char *limit = getenv("BPFSIM_ALARM");

			alarm(limit != NULL ? (u_int)atoi(limit) : 30);
			cases->run();
			printf("ok\n");
			return (0);
		}
	}
	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return (0);
	fprintf(stderr, "usage: %s list | CASE\n", argv[0]);
	return (2);
}

#endif /* SIMTEST_H */
