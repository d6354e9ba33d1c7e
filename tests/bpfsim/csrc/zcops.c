/*
 * Does what it is told on standard input, a line at a time, with a capture on
 * the simulated /dev/bpf, and answers each line with one on standard output.
 * It checks by itself that every packet comes once, in order, as it was sent,
 * or is one of those that the kernel counted as dropped; that a block that is
 * lent doesn't change; that calls return in time; and that a call that says
 * that there's nothing is right.  What is wrong is told in a line that begins
 * with FAILED, and ends the program.
 *
 * BPFSIM_SLACK_MS is how much later than asked for a call may return: a lot,
 * as the machine may be busy; test_defects.py measures when it isn't.
 */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "../../patches/csrc/zcview.h"
#include "zcops.h"

static int
op_next(int timeout)
{
	int64_t began = now_ms();
	int was_lent = lent_count();
	struct viewed seen = { .count = 0 };
	const char *wrong;
	int status, i;

	for (i = 0; i < BLOCKS && s.blocks[i].used; i++)
		;
	check(i < BLOCKS, "the test keeps too many blocks");
	status = pcap_zc_next_viewed(s.p, &s.blocks[i].block, timeout, view,
	    (u_char *)&seen);
	wrong = view_ends(&seen, status, &s.blocks[i].block);
	check(wrong == NULL, "shown: %s", wrong);
	in_time(began, timeout);
	if (is_error(status, was_lent))
		return (status);
	if (status == 0) {
		/*
		 * With a block lent, what's in the other buffer is due when
		 * the timeout of the handle has passed.  In read mode the
		 * kernel's clock says so, which may be late.
		 */
		if (!read_mode() && (was_lent == 0 ||
		    timeout >= s.timeout + 50))
			nothing_left();
		return (0);
	}
	s.blocks[i].used = 1;
	look_at(&s.blocks[i].block, 1);
	s.partly = 0;
	printf("1 %d %u\n", i, s.blocks[i].block.count);
	return (1);
}

static int
op_dispatch(int count)
{
	int64_t began = now_ms();
	uint64_t before = s.delivered;
	int was_lent = lent_count();
	int status;

	if (s.timeout == 0 && !s.nonblock)
		return (0);	/* might wait for ever */
	status = pcap_dispatch(s.p, count, take_one, NULL);
	in_time(began, s.nonblock ? 0 : s.timeout);
	if (is_error(status, was_lent))
		return (status);
	check((uint64_t)status == s.delivered - before, "says %d, not %llu",
	    status, (unsigned long long)(s.delivered - before));
	s.partly = count > 0 && status == count;
	if (status == 0 && was_lent == 0 && (s.nonblock || !read_mode()))
		nothing_left();
	return (status);
}

static int
op_next_ex(void)
{
	int64_t began = now_ms();
	int was_lent = lent_count();
	struct pcap_pkthdr *h;
	const u_char *frame;
	int status;

	if (s.timeout == 0 && !s.nonblock)
		return (0);
	status = pcap_next_ex(s.p, &h, &frame);
	in_time(began, s.nonblock ? 0 : s.timeout);
	if (is_error(status, was_lent))
		return (status);
	if (status == 1)
		take_one(NULL, h, frame);
	s.partly = status == 1;
	return (status);
}

static void
op_give_back(struct pcap_zc_block *block)
{
	look_at(block, 0);
	check(pcap_zc_release(s.p, block) == 0, "%s", pcap_geterr(s.p));
}

static void *
op_return_thread(void *unused)
{
	struct returning one;

	(void)unused;
	pthread_mutex_lock(&q.lock);
	for (;;) {
		while (q.length == 0 && !q.stop)
			pthread_cond_wait(&q.changed, &q.lock);
		if (q.length == 0)
			break;
		one = q.queue[0];
		q.length--;
		memmove(q.queue, q.queue + 1, sizeof(one) * (size_t)q.length);
		q.busy = 1;
		pthread_mutex_unlock(&q.lock);
		if (one.delay_us > 0)
			usleep((useconds_t)one.delay_us);
		op_give_back(&one.block);
		pthread_mutex_lock(&q.lock);
		q.busy = 0;
		pthread_cond_broadcast(&q.changed);
	}
	pthread_mutex_unlock(&q.lock);
	return (NULL);
}

/*
 * Give back by this thread if delay_us is negative, else by the other one,
 * after that time.
 */
static void
op_release(int i, int delay_us)
{
	check(i >= 0 && i < BLOCKS && s.blocks[i].used, "block %d isn't lent", i);
	if (delay_us < 0)
		op_give_back(&s.blocks[i].block);
	else {
		pthread_mutex_lock(&q.lock);
		check(q.length < QUEUE, "the test gives back too many");
		q.queue[q.length].block = s.blocks[i].block;
		q.queue[q.length++].delay_us = delay_us;
		pthread_cond_broadcast(&q.changed);
		pthread_mutex_unlock(&q.lock);
	}
	s.blocks[i].used = 0;
}

static void
op_wait_for_returns(void)
{
	pthread_mutex_lock(&q.lock);
	while (q.length != 0 || q.busy)
		pthread_cond_wait(&q.changed, &q.lock);
	pthread_mutex_unlock(&q.lock);
}

static void
op_send(uint32_t count, int min, int max, uint32_t seed, int gap_us)
{
	struct segment *segment;

	if (s.gone || count == 0)
		return;
	if (s.count == s.room) {
		s.room = s.room != 0 ? s.room * 2 : 64;
		s.segments = realloc(s.segments, s.room * sizeof(*segment));
		check(s.segments != NULL, "no memory for %zu", s.room);
	}
	segment = &s.segments[s.count++];
	segment->first = s.sent + 1;
	segment->last = s.sent += count;
	segment->min = min;
	segment->max = max;
	segment->seed = seed;
	segment->filter = s.filter_count - 1;
	s.quiet = 0;
	check(bpfsim_flood(DEVICE, count, min, max, seed, gap_us) >= 0, "%s",
	    strerror(errno));
}

static void
op_drain(void)
{
	check(bpfsim_drain(60000) == 0, "%s", strerror(errno));
	s.quiet = 1;
}

static void
add_filter(int shortest, int longest)
{
	s.filters = realloc(s.filters,
	    (s.filter_count + 1) * sizeof(*s.filters));
	check(s.filters != NULL, "no memory");
	s.filters[s.filter_count].shortest = shortest;
	s.filters[s.filter_count++].longest = longest;
}

/*
 * Frames that are on their way are to arrive with the filter that we know of.
 */
static void
op_filter(int shortest, int longest)
{
	struct bpf_program program;
	char text[100] = "";

	if (s.gone)
		return;
	op_drain();
	if (longest != ANY_LENGTH)
		snprintf(text, sizeof(text), "len >= %d and len <= %d",
		    shortest, longest);
	check(pcap_compile(s.p, &program, text, 1, PCAP_NETMASK_UNKNOWN) == 0 &&
	    pcap_setfilter(s.p, &program) == 0, "%s", pcap_geterr(s.p));
	pcap_freecode(&program);
	add_filter(shortest, longest);
}

/*
 * Somebody asks for a rotation behind the library's back.
 */
static void
op_rotate(void)
{
	uint64_t bz[3];

	if (!read_mode())
		check(bpfsim_ioctl(pcap_fileno(s.p), BIOCROTZBUF, bz) == 0,
		    "%s", strerror(errno));
}

/*
 * A program's own poll() wakes up in time, if there's something to be had.
 */
static int
op_poll(void)
{
	const struct timeval *required = pcap_get_required_select_timeout(s.p);
	struct pollfd fd = { pcap_get_selectable_fd(s.p), POLLIN, 0 };
	uint64_t pass = s.lost_pass, refuse = 0;
	struct pcap_stat stats;
	int status;

	check(fd.fd >= 0, "there's no descriptor");
	check(pcap_stats(s.p, &stats) == 0, "%s", pcap_geterr(s.p));
	pass_over(s.sent + 1, 0, &pass, &refuse);
	if (!s.quiet || s.timeout == 0 || s.partly || lent_count() != 0 ||
	    refuse + s.lost_refuse != 0 || pass <= stats.ps_drop)
		return (poll(&fd, 1, 0));
	status = poll(&fd, 1, s.timeout + s.slack);
	check(status == 1 || required != NULL, "%llu packets don't wake poll()",
	    (unsigned long long)(pass - stats.ps_drop));
	return (status);
}

static void
op_fork(int stays)
{
	pid_t pid;

	if (s.nchildren == CHILDREN)
		return;
	op_drain();
	op_wait_for_returns();
	fflush(stdout);
	pid = fork();
	check(pid >= 0, "%s", strerror(errno));
	if (pid == 0) {
		alarm(120);
		while (stays)
			pause();
		pcap_close(s.p);
		_exit(0);
	}
	if (stays)
		s.children[s.nchildren++] = pid;
	else
		check(waitpid(pid, NULL, 0) == pid, "%s", strerror(errno));
}

static void
op_depart(void)
{
	if (s.gone)
		return;
	op_drain();
	s.gone = 1;
	check(bpfsim_remove_interface(DEVICE) == 0, "%s", strerror(errno));
}

/*
 * All blocks come back, and all that's there is read.
 */
static void
op_empty(void)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	int nonblock = s.nonblock, nothing = 0;
	int i, status;

	op_drain();
	for (;;) {
		for (i = 0; i < BLOCKS; i++) {
			if (s.blocks[i].used)
				op_release(i, -1);
		}
		op_wait_for_returns();
		if (read_mode()) {
			/*
			 * This way the kernel hands over a partly filled one
			 * at once.  It's 0 too for one in which all packets
			 * were filtered; there are no more than three.
			 */
			s.nonblock = 1;
			pcap_setnonblock(s.p, 1, errbuf);
			status = op_dispatch(-1);
			s.nonblock = nonblock;
			pcap_setnonblock(s.p, nonblock, errbuf);
			nothing = status == 0 ? nothing + 1 : 0;
			if (status > 0 || status == PCAP_ERROR_BREAK ||
			    (status == 0 && nothing < 4))
				continue;
			break;
		} else
			status = pcap_zc_next(s.p, &s.blocks[0].block,
			    s.timeout + 60);
		if (status == 1) {
			s.blocks[0].used = 1;
			look_at(&s.blocks[0].block, 1);
		} else if (!is_error(status, 0) || status != PCAP_ERROR_BREAK)
			break;
	}
	check(status == 0 || s.gone, "%d: %s", status, pcap_geterr(s.p));
}

/*
 * The sums are right; and when nothing is lent and nothing waits, what arrives
 * then is not dropped.
 */
static void
op_settle(void)
{
	const struct filter *filter = &s.filters[s.filter_count - 1];
	int length = filter->shortest > 60 ? filter->shortest : 60;
	uint64_t before;
	struct pcap_stat stats;

	op_empty();
	pass_over(s.sent + 1, 1, &s.lost_pass, &s.lost_refuse);
	check(pcap_stats(s.p, &stats) == 0, "%s", pcap_geterr(s.p));
	check(s.lost_pass <= stats.ps_drop &&
	    stats.ps_drop <= s.lost_pass + s.lost_refuse,
	    "%llu came, %llu didn't (and %llu that were filtered later), %u dropped",
	    (unsigned long long)s.delivered, (unsigned long long)s.lost_pass,
	    (unsigned long long)s.lost_refuse, stats.ps_drop);
	check(stats.ps_recv == s.sent, "%u sent, %u received", s.sent,
	    stats.ps_recv);
	if (!s.gone && length <= filter->longest) {
		before = s.delivered;
		op_send(2, length, length, 1, 0);
		op_empty();
		check(s.delivered == before + 2, "%llu of 2 came",
		    (unsigned long long)(s.delivered - before));
	}
	printf("ok %u %llu %u\n", s.sent, (unsigned long long)s.delivered,
	    stats.ps_drop);
}

/*
 * With blocks lent, if some are: they stay as they are until they're back.
 */
static void
op_close(void)
{
	int i;

	op_drain();
	op_wait_for_returns();
	pcap_close(s.p);
	check(s.nchildren != 0 || bpfsim_open_descriptors() == 0,
	    "a descriptor is open");
	for (i = BLOCKS - 1; i >= 0; i--) {
		if (s.blocks[i].used) {
			look_at(&s.blocks[i].block, 0);
			check(pcap_zc_release(s.p, &s.blocks[i].block) == 0,
			    "block %d", i);
		}
	}
	for (i = 0; i < s.nchildren; i++) {
		kill(s.children[i], SIGKILL);
		waitpid(s.children[i], NULL, 0);
	}
}

static void
op_start(const int *v)
{
	struct options options = { .timeout = v[0], .immediate = v[1],
	    .buffer_size = v[2], .snaplen = 65535 };
	char errbuf[PCAP_ERRBUF_SIZE];

	s.timeout = v[0];
	s.immediate = v[1];
	s.buffer_size = v[2];
	s.p = create(&options);
	check(pcap_set_tstamp_precision(s.p, PCAP_TSTAMP_PRECISION_NANO) == 0,
	    "%s", pcap_geterr(s.p));
	check(pcap_activate(s.p) == 0, "%s", pcap_geterr(s.p));
	s.nonblock = v[3];
	check(pcap_setnonblock(s.p, v[3], errbuf) == 0, "%s", errbuf);
	add_filter(0, ANY_LENGTH);
	s.next = 1;
	s.quiet = 1;
}

/*
 * Do what a line says; true if the answer has been printed.
 */
static int
obey(const char *what, const int *v, int *status)
{
	*status = 0;
	if (strcmp(what, "open") == 0)
		op_start(v);
	else if (strcmp(what, "send") == 0)
		op_send((uint32_t)v[0], v[1], v[2], (uint32_t)v[3], v[4]);
	else if (strcmp(what, "drain") == 0)
		op_drain();
	else if (strcmp(what, "next") == 0)
		return ((*status = op_next(v[0])) == 1);
	else if (strcmp(what, "dispatch") == 0)
		*status = op_dispatch(v[0]);
	else if (strcmp(what, "one") == 0)
		*status = op_next_ex();
	else if (strcmp(what, "release") == 0)
		op_release(v[0], v[1]);
	else if (strcmp(what, "filter") == 0)
		op_filter(v[0], v[1]);
	else if (strcmp(what, "rotate") == 0)
		op_rotate();
	else if (strcmp(what, "poll") == 0)
		*status = op_poll();
	else if (strcmp(what, "break") == 0) {
		s.breaks += 2;
		pcap_breakloop(s.p);
	} else if (strcmp(what, "wakeup") == 0) {
		s.breaks += 2;
		check(pcap_zc_wakeup(s.p) == 0, "%s", pcap_geterr(s.p));
	} else if (strcmp(what, "fork") == 0)
		op_fork(v[0]);
	else if (strcmp(what, "depart") == 0)
		op_depart();
	else if (strcmp(what, "settle") == 0) {
		op_settle();
		return (1);
	} else if (strcmp(what, "close") == 0)
		op_close();
	else
		check(0, "what is \"%s\"?", what);
	return (0);
}

int
main(void)
{
	const char *slack = getenv("BPFSIM_SLACK_MS");
	char line[200], what[20];
	pthread_t thread;
	int v[5], status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	s.slack = slack != NULL ? atoi(slack) : 5000;
	pthread_create(&thread, NULL, op_return_thread, NULL);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		memset(v, 0, sizeof(v));
		if (sscanf(line, "%19s %d %d %d %d %d", what, &v[0], &v[1],
		    &v[2], &v[3], &v[4]) < 1)
			continue;
		alarm(120);
		if (!obey(what, v, &status))
			printf("%d\n", status);
	}
	pthread_mutex_lock(&q.lock);
	q.stop = 1;
	pthread_cond_broadcast(&q.changed);
	pthread_mutex_unlock(&q.lock);
	pthread_join(thread, NULL);
	free(s.segments);
	free(s.filters);
	return (0);
}
