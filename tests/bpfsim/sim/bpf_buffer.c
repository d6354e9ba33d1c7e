/*
 * sys/net/bpf_buffer.c: buffers of the kernel's own; and appending to either
 * kind.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct buf *
buf_alloc(u_int size)
{
	struct buf *b;

	b = calloc(1, sizeof(*b));
	if (b == NULL)
		abort();
	b->b_data = malloc(size);
	if (b->b_data == NULL)
		abort();
	b->b_size = size;
	b->b_memfd = -1;
	return (b);
}

void
buf_free(struct buf *b)
{
	if (b == NULL)
		return;
	if (b->b_header != NULL)
		zbuf_free(b);
	else
		free(b->b_data);
	free(b);
}

/*
 * bpf_ioctl_sblen() and bpf_buffer_ioctl_sblen(): what does not fit between
 * the limits is clipped, and the caller's variable with it.
 */
int
bpf_buffer_sblen(struct bpf_d *d, u_int *size)
{
	struct buf *fbuf, *sbuf;

	pthread_mutex_lock(&d->bd_lock);
	if (d->bd_bufmode != BPF_BUFMODE_BUFFER) {
		pthread_mutex_unlock(&d->bd_lock);
		return (EOPNOTSUPP);
	}
	if (*size > (u_int)bpf_maxbufsize)
		*size = (u_int)bpf_maxbufsize;
	else if (*size < BPF_MINBUFSIZE)
		*size = BPF_MINBUFSIZE;
	if (d->bd_bif != NULL) {
		pthread_mutex_unlock(&d->bd_lock);
		return (EINVAL);
	}
	fbuf = buf_alloc(*size);
	sbuf = buf_alloc(*size);
	buf_free(d->bd_fbuf);
	buf_free(d->bd_sbuf);
	d->bd_bufsize = *size;
	d->bd_fbuf = fbuf;
	d->bd_sbuf = sbuf;
	d->bd_hbuf = NULL;
	d->bd_slen = d->bd_hlen = 0;
	pthread_mutex_unlock(&d->bd_lock);
	return (0);
}

/* bpf_append_bytes(), bpf_append_mbuf() and what they call */
void
buf_append(struct bpf_d *d, struct buf *b, u_int offset, const void *src, u_int len)
{
	if (b->b_header != NULL)
		d->bd_zcopy++;
	memcpy(b->b_data + offset, src, len);
}

/*
 * The header of a record, which the kernel copies whole.  bh_hdrlen is stored
 * apart and atomically, because the user may look at that field of a shared
 * buffer's first record while it is written; all else is his only when it was
 * handed over, or counted by FIONREAD.
 */
void
buf_append_header(struct bpf_d *d, struct buf *b, u_int offset, const struct bpf_xhdr *hdr)
{
	static const size_t at = offsetof(struct bpf_xhdr, bh_hdrlen);
	static const size_t rest = sizeof(*hdr) - offsetof(struct bpf_xhdr, bh_hdrlen) - sizeof(hdr->bh_hdrlen);
	u_char *to = b->b_data + offset;

	if (b->b_header != NULL)
		d->bd_zcopy++;
	memcpy(to, hdr, at);
	__atomic_store_n((u_short *)(void *)(to + at), hdr->bh_hdrlen, __ATOMIC_RELAXED);
	memset(to + sizeof(*hdr) - rest, 0, rest);
}
