/*
 * Captures on the simulated /dev/bpf as any program would, with nothing that
 * stock libpcap doesn't have, so that each case can be run on both.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "simtest.h"

static pcap_t *handle;

static void
break_on_signal(int signal_number)
{
	(void)signal_number;
	pcap_breakloop(handle);
}

static void
do_nothing(int signal_number)
{
	(void)signal_number;
}

static void
on_alarm(void (*handler)(int), int first_ms, int every_ms)
{
	struct sigaction action;
	struct itimerval timer = {
		{ every_ms / 1000, (every_ms % 1000) * 1000 },
		{ first_ms / 1000, (first_ms % 1000) * 1000 }
	};

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/*
 * A dispatch on an idle link returns 0 at its timeout, and uses no CPU.
 */
static void
quiet(void)
{
	struct options options = { .timeout = 200 };
	pcap_t *p = open_device(&options);
	struct seen seen = { 0, 1, 0 };
	int64_t began = now_ms(), cpu = cpu_ms();
	int n = dispatch(p, &seen);

	check(n == 0, "returned %d: %s", n, pcap_geterr(p));
	check(now_ms() - began >= 190 && now_ms() - began < within(500),
	    "after %d ms", (int)(now_ms() - began));
	check(cpu_ms() - cpu < 50, "used %d ms of CPU", (int)(cpu_ms() - cpu));
	pcap_close(p);
}

/*
 * Signals that have handlers neither end that early nor make it longer.
 */
static void
signals(void)
{
	struct options options = { .timeout = 300 };
	pcap_t *p = open_device(&options);
	struct seen seen = { 0, 1, 0 };
	int64_t began = now_ms();
	int n;

	on_alarm(do_nothing, 20, 20);
	n = dispatch(p, &seen);
	on_alarm(SIG_DFL, 20000, 0);
	check(n == 0, "returned %d: %s", n, pcap_geterr(p));
	check(now_ms() - began >= 290 && now_ms() - began < within(600),
	    "after %d ms", (int)(now_ms() - began));
	pcap_close(p);
}

static void
nonblock(void)
{
	struct options options = { .timeout = 5000 };
	pcap_t *p = open_device(&options);
	char errbuf[PCAP_ERRBUF_SIZE];
	struct seen seen = { 0, 1, 0 };
	struct pcap_pkthdr *h;
	const u_char *frame;
	int64_t began;
	int n;

	check(pcap_setnonblock(p, 1, errbuf) == 0, "%s", errbuf);
	check(pcap_getnonblock(p, errbuf) == 1, "it isn't non-blocking");
	began = now_ms();
	n = dispatch(p, &seen);
	check(n == 0, "dispatch returned %d", n);
	n = pcap_next_ex(p, &h, &frame);
	check(n == 0, "next_ex returned %d", n);
	check(now_ms() - began < within(100), "after %d ms", (int)(now_ms() - began));
	send_frames(3, 100);
	check(dispatch(p, &seen) == 3, "%u frames", seen.count);
	pcap_close(p);
}

/*
 * A descriptor that doesn't fit into an fd_set.
 */
static void
descriptor(void)
{
	struct options options = { .timeout = 100 };
	struct rlimit limit = { 4096, 4096 };
	struct seen seen = { 0, 1, 0 };
	pcap_t *p;

	check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "%s", strerror(errno));
	while (dup(0) < FD_SETSIZE + 100)
		;
	p = open_device(&options);
	check(pcap_fileno(p) > FD_SETSIZE, "it's %d", pcap_fileno(p));
	send_frames(2, 100);
	while (seen.count < 2)
		check(dispatch(p, &seen) >= 0, "%s", pcap_geterr(p));
	pcap_close(p);
}

static void *
send_after_100_ms(void *count)
{
	sleep_ms(100);
	send_frames(*(int *)count, 100);
	return (NULL);
}

/*
 * An application's own poll wakes up for a buffer that's only partly filled.
 */
static void
select_wakes(void)
{
	struct options options = { .timeout = 200 };
	pcap_t *p = open_device(&options);
	struct pollfd fds = { pcap_get_selectable_fd(p), POLLIN, 0 };
	char errbuf[PCAP_ERRBUF_SIZE];
	struct seen seen = { 0, 1, 0 };
	int64_t began = now_ms();
	pthread_t thread;
	int n, count = 3;

	check(pcap_setnonblock(p, 1, errbuf) == 0, "%s", errbuf);
	pthread_create(&thread, NULL, send_after_100_ms, &count);
	n = bpfsim_poll(&fds, 1, 2500);
	check(n == 1, "poll returned %d", n);
	check(now_ms() - began < within(500), "after %d ms", (int)(now_ms() - began));
	check(dispatch(p, &seen) == 3, "%u frames", seen.count);
	pthread_join(thread, NULL);
	pcap_close(p);
}

/*
 * A timeout of 36 minutes is one.
 */
static void
long_timeout(void)
{
	struct options options = { .timeout = 2147484 };
	pcap_t *p = open_device(&options);
	struct timeval timeout;

	check(bpfsim_ioctl(pcap_fileno(p), BIOCGRTIMEOUT, &timeout) == 0,
	    "%s", strerror(errno));
	check(timeout.tv_sec == 2147 && timeout.tv_usec == 484000, "%ld.%06ld s",
	    (long)timeout.tv_sec, (long)timeout.tv_usec);
	pcap_close(p);
}

static void *
break_after_200_ms(void *p)
{
	sleep_ms(200);
	pcap_breakloop(p);
	return (NULL);
}

/*
 * pcap_breakloop() ends a dispatch that would wait for ever, from another
 * thread, and from a signal handler.
 */
static void
breakloop(void)
{
	struct options options = { .timeout = 0 };
	pcap_t *p = open_device(&options);
	struct seen seen = { 0, 1, 0 };
	int64_t began = now_ms();
	pthread_t thread;
	int n;

	pthread_create(&thread, NULL, break_after_200_ms, p);
	n = dispatch(p, &seen);
	check(n == PCAP_ERROR_BREAK, "returned %d", n);
	check(now_ms() - began < within(400), "after %d ms", (int)(now_ms() - began));
	pthread_join(thread, NULL);

	handle = p;
	on_alarm(break_on_signal, 200, 0);
	began = now_ms();
	n = dispatch(p, &seen);
	check(n == PCAP_ERROR_BREAK, "the signal: returned %d", n);
	check(now_ms() - began < within(400), "the signal: after %d ms",
	    (int)(now_ms() - began));
	on_alarm(SIG_DFL, 20000, 0);
	pcap_close(p);
}

/*
 * The interface goes away: what was captured comes first, then the error.
 */
static void
depart(void)
{
	struct options options = { .timeout = 200 };
	pcap_t *p = open_device(&options);
	struct seen seen = { 0, 1, 0 };
	int64_t began, cpu;
	int n;

	send_frames(2, 100);
	check(bpfsim_remove_interface(DEVICE) == 0, "%s", strerror(errno));
	began = now_ms();
	cpu = cpu_ms();
	while ((n = dispatch(p, &seen)) >= 0)
		check(now_ms() - began < within(3000), "nothing is said");
	check(n == PCAP_ERROR && strcmp(pcap_geterr(p), "The interface disappeared") == 0,
	    "%d: %s", n, pcap_geterr(p));
	check(seen.count == 2, "%u frames before that", seen.count);
	check(cpu_ms() - cpu < 50, "used %d ms of CPU", (int)(cpu_ms() - cpu));
	check(dispatch(p, &seen) == PCAP_ERROR, "it's not said again");
	pcap_close(p);
}

/*
 * The same with a thread that waits while that happens, and no timeout.
 */
static void *
remove_after_200_ms(void *unused)
{
	(void)unused;
	sleep_ms(200);
	bpfsim_remove_interface(DEVICE);
	return (NULL);
}

static void
depart_waiting(void)
{
	struct options options = { .timeout = 0 };
	pcap_t *p = open_device(&options);
	struct seen seen = { 0, 1, 0 };
	pthread_t thread;
	int n;

	pthread_create(&thread, NULL, remove_after_200_ms, NULL);
	n = dispatch(p, &seen);
	check(n == PCAP_ERROR && strcmp(pcap_geterr(p), "The interface disappeared") == 0,
	    "%d: %s", n, pcap_geterr(p));
	pthread_join(thread, NULL);
	pcap_close(p);
}

/*
 * Packets that arrive while a buffer is being read, and then silence.
 */
static void
tail(void)
{
	struct options options = { .timeout = 100 };
	pcap_t *p = open_device(&options);
	struct tail tail = { { 0, 1, 0 }, 2 };
	int64_t began;

	send_frames(3, 100);
	check(dispatch_some(p, -1, take_and_send, &tail) == 3,
	    "%u frames", tail.seen.count);
	began = now_ms();
	while (tail.seen.count < 5) {
		check(now_ms() - began < within(1000), "%u frames of 5 after a second",
		    tail.seen.count);
		check(dispatch(p, &tail.seen) >= 0, "%s", pcap_geterr(p));
	}
	check(now_ms() - began < within(250), "after %d ms", (int)(now_ms() - began));
	send_frames(1, 100);
	while (tail.seen.count < 6)
		check(dispatch(p, &tail.seen) >= 0, "%s", pcap_geterr(p));
	check(tail.seen.missing == 0, "%u are missing", tail.seen.missing);
	pcap_close(p);
}

/*
 * The same for a program in immediate mode that polls: neither it nor the
 * library runs in circles, and the next packet comes soon.
 */
static void
immediate(void)
{
	struct options options = { .timeout = 100, .immediate = 1 };
	pcap_t *p = open_device(&options);
	struct pollfd fds = { pcap_get_selectable_fd(p), POLLIN, 0 };
	char errbuf[PCAP_ERRBUF_SIZE];
	struct tail tail = { { 0, 1, 0 }, 2 };
	int64_t began, cpu;
	int loops;

	check(pcap_setnonblock(p, 1, errbuf) == 0, "%s", errbuf);
	send_frames(3, 100);
	check(dispatch_some(p, -1, take_and_send, &tail) == 3,
	    "%u frames", tail.seen.count);
	began = now_ms();
	cpu = cpu_ms();
	for (loops = 0; now_ms() - began < 1000; loops++) {
		check(loops < 1000, "it runs in circles");
		bpfsim_poll(&fds, 1, 1000);
		check(dispatch(p, &tail.seen) >= 0, "%s", pcap_geterr(p));
	}
	check(tail.seen.count == 5, "%u frames", tail.seen.count);
	check(cpu_ms() - cpu < 50, "used %d ms of CPU", (int)(cpu_ms() - cpu));

	/*
	 * And packets come at once again.
	 */
	for (loops = 0; loops < 5; loops++) {
		send_frames(1, 100);
		began = now_ms();
		while (tail.seen.count < 6U + loops) {
			bpfsim_poll(&fds, 1, 1000);
			check(dispatch(p, &tail.seen) >= 0, "%s", pcap_geterr(p));
		}
		check(now_ms() - began < within(60), "one came after %d ms",
		    (int)(now_ms() - began));
	}
	pcap_close(p);
}

/*
 * Both buffers full, read, and given back, then few packets: nothing old is
 * taken for new, and nothing is late.
 */
static void
overload(void)
{
	struct options options = { .timeout = 50, .buffer_size = 4096 };
	pcap_t *p = open_device(&options);
	struct pcap_stat stats;
	struct seen seen = { 0, 1, 0 };
	int64_t began;
	uint32_t before;
	int round, few;

	for (round = 0; round < 60; round++) {
		few = round % 8;
		send_frames(24, 60 + round % 2 * 440);
		while (dispatch(p, &seen) > 0)
			;
		send_frames(few, 500);
		before = seen.count;
		began = now_ms();
		while (seen.count < before + (uint32_t)few) {
			check(now_ms() - began < within(1000), "round %d: %u of %d came",
			    round, seen.count - before, few);
			check(dispatch(p, &seen) >= 0, "%s", pcap_geterr(p));
		}
	}
	check(dispatch(p, &seen) == 0, "there's more than was sent");
	check(pcap_stats(p, &stats) == 0, "%s", pcap_geterr(p));
	check(seen.count + stats.ps_drop == stats.ps_recv,
	    "%u came, %u dropped, %u sent", seen.count, stats.ps_drop,
	    stats.ps_recv);
	check(stats.ps_drop > 0, "the buffers were never full");
	pcap_close(p);
}

/*
 * A child process has the descriptor and the buffers, too, and lives on.
 */
static void
fork_with_child(void)
{
	struct options options = { .timeout = 50, .buffer_size = 8192 };
	pcap_t *p = open_device(&options);
	struct seen seen = { 0, 1, 0 };
	int64_t began = now_ms();
	int round, pipe_fds[2];
	pid_t child;

	check(pipe(pipe_fds) == 0, "%s", strerror(errno));
	child = fork();
	if (child == 0) {
		char c;

		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &c, 1) == 0 ? 0 : 1);
	}
	for (round = 0; round < 20; round++) {
		send_frames(20, 200);
		while (seen.count < 20U * (round + 1)) {
			check(now_ms() - began < within(5000), "%u frames of %d",
			    seen.count, 20 * (round + 1));
			check(dispatch(p, &seen) >= 0, "%s", pcap_geterr(p));
		}
	}
	check(seen.missing == 0, "%u are missing", seen.missing);
	close(pipe_fds[1]);
	waitpid(child, NULL, 0);
	pcap_close(p);
}

/*
 * In a sandbox that allows no ioctl but those that tcpdump allows itself:
 * nothing fails, nothing runs in circles, and packets that the kernel doesn't
 * hand over come with the next one.
 */
#define ENOTCAPABLE	93	/* FreeBSD's */

static void
sandbox(void)
{
	struct options options = { .timeout = 50, .immediate = 1 };
	pcap_t *p = open_device(&options);
	struct tail tail = { { 0, 1, 0 }, 2 };
	int64_t began, cpu;

	check(bpfsim_fail(FIONREAD, ENOTCAPABLE, -1) == 0 &&
	    bpfsim_fail(BIOCIMMEDIATE, ENOTCAPABLE, -1) == 0 &&
	    bpfsim_fail(BIOCSRTIMEOUT, ENOTCAPABLE, -1) == 0, "fail");
	send_frames(3, 100);
	check(dispatch_some(p, -1, take_and_send, &tail) == 3,
	    "%u frames", tail.seen.count);
	began = now_ms();
	cpu = cpu_ms();
	while (now_ms() - began < 1000)
		check(dispatch(p, &tail.seen) >= 0, "%s", pcap_geterr(p));
	check(cpu_ms() - cpu < 100, "used %d ms of CPU", (int)(cpu_ms() - cpu));
	send_frames(1, 100);
	while (tail.seen.count < 6) {
		check(now_ms() - began < within(2000), "%u frames", tail.seen.count);
		check(dispatch(p, &tail.seen) >= 0, "%s", pcap_geterr(p));
	}
	check(tail.seen.missing == 0, "%u are missing", tail.seen.missing);
	pcap_close(p);
}

static const struct test_case cases[] = {
	{ "quiet", quiet },
	{ "signals", signals },
	{ "nonblock", nonblock },
	{ "descriptor", descriptor },
	{ "select", select_wakes },
	{ "timeout", long_timeout },
	{ "breakloop", breakloop },
	{ "depart", depart },
	{ "leave", depart_waiting },
	{ "tail", tail },
	{ "immediate", immediate },
	{ "overload", overload },
	{ "fork", fork_with_child },
	{ "sandbox", sandbox },
	{ NULL, NULL }
};

int
main(int argc, char **argv)
{
	return (run_case(cases, argc, argv));
}
