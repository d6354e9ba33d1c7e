/*
 * sys/net/bpf.c: bpf_setf(); sys/net/bpf_filter.c: bpf_validate().
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMWORDS	16

/*
 * bpf_filter(): how much of a packet a program wants; no program wants all.
 * libpcap 1.11 would rather that its users called something else, but this is
 * the interpreter itself.
 */
u_int
bpf_run(const struct bpf_insn *program, const u_char *pkt, u_int len)
{
	if (program == NULL)
		return ((u_int)-1);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	return (bpf_filter(program, pkt, len, len));
#pragma GCC diagnostic pop
}

/* Whether the kernel knows an instruction other than a jump. */
static int
valid_plain(const struct bpf_insn *p)
{
	switch (p->code) {

	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_H | BPF_ABS:
	case BPF_LD | BPF_B | BPF_ABS:
	case BPF_LD | BPF_W | BPF_IND:
	case BPF_LD | BPF_H | BPF_IND:
	case BPF_LD | BPF_B | BPF_IND:
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_B | BPF_MSH:
	case BPF_LDX | BPF_IMM:
	case BPF_ALU | BPF_NEG:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
		return (1);

	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
		return (p->k < MEMWORDS);
	}
	return (0);
}

static int
valid_arithmetic(const struct bpf_insn *p)
{
	switch (BPF_OP(p->code)) {

	case BPF_ADD:
	case BPF_SUB:
	case BPF_MUL:
	case BPF_OR:
	case BPF_AND:
	case BPF_XOR:
	case BPF_LSH:
	case BPF_RSH:
		return (1);

	case BPF_DIV:
	case BPF_MOD:
		return (BPF_SRC(p->code) == BPF_X || p->k != 0);
	}
	return (0);
}

/*
 * bpf_validate(): jumps go forward only, so that every program ends; libpcap's
 * own check lets them go back.
 */
static int
validate(const struct bpf_insn *f, u_int len)
{
	const struct bpf_insn *p;
	u_int from;

	if (len < 1 || len > (u_int)bpf_maxinsns)
		return (0);
	for (p = f; p < f + len; p++) {
		from = (u_int)(p - f) + 1;
		if (p->code == (BPF_JMP | BPF_JA)) {
			if (p->k >= len || from + p->k >= len)
				return (0);
		} else if (BPF_CLASS(p->code) == BPF_JMP) {
			if (BPF_OP(p->code) > BPF_JSET || p->code > 0xff ||
			    from + p->jt >= len || from + p->jf >= len)
				return (0);
		} else if (BPF_CLASS(p->code) == BPF_ALU && p->code != (BPF_ALU | BPF_NEG)) {
			if (p->code > 0xff || !valid_arithmetic(p))
				return (0);
		} else if (!valid_plain(p))
			return (0);
	}
	return (BPF_CLASS(f[len - 1].code) == BPF_RET);
}

/*
 * bpf_check_upgrade() and bpf_upgraded(), with sim_lock held: a descriptor that
 * was opened for writing only listens once it has set a filter, not counting
 * the two by which libpcap sets the snapshot length.
 */
static void
upgrade(struct bpf_d *d, u_long cmd, u_int len)
{
	if (d->bd_writer == 0 || d->bd_rfilter == NULL)
		return;
	if (cmd == BIOCSETF && len == 1 && d->bd_rfilter[0].code == (BPF_RET | BPF_K) &&
	    --d->bd_writer != 0)
		return;
	d->bd_writer = 0;
	if (d->bd_bif == NULL)
		return;
	LIST_REMOVE(d, bd_next);
	LIST_INSERT_HEAD(&d->bd_bif->bif_dlist, d, bd_next);
}

/*
 * bpf_setf(): BIOCSETF throws away what was captured and the counts,
 * BIOCSETFNR does not.
 */
int
bpf_setf(struct bpf_d *d, const struct bpf_program *fp, u_long cmd)
{
	struct bpf_insn *fcode = NULL, *old;
	size_t size = fp->bf_len * sizeof(*fp->bf_insns);

	if (fp->bf_len > (u_int)bpf_maxinsns || (fp->bf_insns == NULL && fp->bf_len != 0))
		return (EINVAL);
	if (size > 0) {
		fcode = malloc(size);
		if (fcode == NULL)
			abort();
		memcpy(fcode, fp->bf_insns, size);
		if (!validate(fcode, fp->bf_len)) {
			free(fcode);
			return (EINVAL);
		}
	}
	sim_lock();
	pthread_mutex_lock(&d->bd_lock);
	if (cmd == BIOCSETWF) {
		old = d->bd_wfilter;
		d->bd_wfilter = fcode;
	} else {
		old = d->bd_rfilter;
		d->bd_rfilter = fcode;
		if (cmd == BIOCSETF)
			reset_d(d);
		upgrade(d, cmd, fp->bf_len);
	}
	pthread_mutex_unlock(&d->bd_lock);
	sim_unlock();
	free(old);
	return (0);
}
