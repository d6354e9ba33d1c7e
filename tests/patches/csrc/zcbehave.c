/*
 * zcbehave: how lending blocks behaves, case by case.
 *
 *	zcbehave CASE...|all|list
 *
 * To be run as root in a network namespace that has a veth pair, zca and
 * zcb, with nothing else on it.
 *
 * What has to be at once may take up to SOON, as other programs may need
 * the processors; what must not be at once would take much longer than that.
 */
#include "zcbehave.h"

const char *current;
pcap_t *shared;

double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec + ts.tv_nsec / 1e9);
}

double
cpu(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_utime.tv_usec / 1e6 +
	    r.ru_stime.tv_sec + r.ru_stime.tv_usec / 1e6);
}

int
option(const char *variable, int otherwise)
{
	const char *value = getenv(variable);

	return (value != NULL ? atoi(value) : otherwise);
}

int
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return (n);
}

static int send_fd = -1;
static struct sockaddr_ll to;

void
send_n(int n, int len, u_char mark)
{
	u_char f[9014];
	int i;

	if (send_fd == -1) {
		send_fd = socket(AF_PACKET, SOCK_RAW, 0);
		memset(&to, 0, sizeof(to));
		to.sll_family = AF_PACKET;
		to.sll_ifindex = if_nametoindex("zca");
		to.sll_halen = 6;
	}
	memset(f, mark, sizeof(f));
	memcpy(f, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5", 14);
	for (i = 0; i < n; i++)
		CHECK_EQ(sendto(send_fd, f, len, 0, (struct sockaddr *)&to,
		    sizeof(to)), len);
}

pcap_t *
make(const struct setup *s, int expect)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_create(s->dev, errbuf);
	int status;

	CHECK(p != NULL);
	pcap_set_snaplen(p, s->snaplen);
	pcap_set_promisc(p, s->promisc);
	pcap_set_timeout(p, s->timeout);
	pcap_set_buffer_size(p, s->buffer);
	pcap_set_immediate_mode(p, s->immediate);
	if (s->mode != PCAP_ZC_MODE_AUTO)
		CHECK_EQ(pcap_zc_set_mode(p, s->mode), 0);
	if (s->block != 0)
		CHECK_EQ(pcap_zc_set_block_size(p, s->block), 0);
	if (s->block_timeout != 0)
		CHECK_EQ(pcap_zc_set_block_timeout(p, s->block_timeout), 0);
	if (s->nonblock)
		pcap_setnonblock(p, 1, errbuf);
	status = pcap_activate(p);
	if (status != expect)
		fprintf(stderr, "activate: %s\n", pcap_geterr(p));
	CHECK_EQ(status, expect);
	return (p);
}

struct pcap_zc_info
info_of(pcap_t *p)
{
	struct pcap_zc_info i;

	memset(&i, 0xa5, sizeof(i));
	i.size = sizeof(i);
	CHECK_EQ(pcap_zc_info(p, &i), 0);
	CHECK_EQ(i.size, sizeof(i));
	CHECK_EQ(i.abi, pcap_zc_abi());
	return (i);
}

/*
 * A filter that passes packets whose 20th byte is the given one; in cooked
 * mode one that the kernel can't do, if it looks at the 5th.
 */
void
set_filter(pcap_t *p, int offset, int value)
{
	struct bpf_insn insns[] = {
		{ BPF_LD|BPF_B|BPF_ABS, 0, 0, offset },
		{ BPF_JMP|BPF_JEQ|BPF_K, 0, 1, value },
		{ BPF_RET|BPF_K, 0, 0, 262144 },
		{ BPF_RET|BPF_K, 0, 0, 0 }
	};
	struct bpf_program prog = { 4, insns };

	CHECK_EQ(pcap_setfilter(p, &prog), 0);
}

void
count_cb(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	(void)h; (void)bytes;
	++*(int *)user;
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "mode", t_mode }, { "geometry", t_geometry },
	{ "immediate", t_immediate }, { "snaplen", t_snaplen },
	{ "refilter", t_refilter }, { "misuse", t_misuse },
	{ "deadline", t_deadline }, { "wakeup", t_wakeup },
	{ "held", t_held }, { "idle", t_idle }, { "order", t_order },
	{ "mix", t_mix }, { "close", t_close }, { "threads", t_threads },
	{ "departure", t_departure }, { "viewed", t_viewed },
};

int
main(int argc, char **argv)
{
	size_t i, n = sizeof(cases) / sizeof(cases[0]);
	int j, status, failed = 0, ran = 0;

	for (j = 1; j < argc; j++) {
		if (strcmp(argv[j], "list") == 0) {
			for (i = 0; i < n; i++)
				printf("%s\n", cases[i].name);
			return (0);
		}
		for (i = 0; i < n; i++) {
			if (strcmp(argv[j], "all") != 0 &&
			    strcmp(argv[j], cases[i].name) != 0)
				continue;
			ran++;
			current = cases[i].name;
			fflush(stdout);
			if (fork() == 0) {
				alarm(option("ZC_ALARM", 60));
				cases[i].run();
				if (send_fd != -1)
					close(send_fd);
				fflush(stdout);
				exit(0);
			}
			wait(&status);
			printf("%-10s %s\n", current,
			    status == 0 ? "ok" : "FAILED");
			failed |= status != 0;
		}
	}
	return (failed || !ran);
}
