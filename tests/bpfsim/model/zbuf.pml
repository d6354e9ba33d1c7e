/*
 * The buffer protocol of FreeBSD's zero-copy BPF, and how a reader gets every
 * packet out of it although the kernel takes a buffer back only when the next
 * packet arrives.
 *
 * Three processes: the kernel, the thread that reads, and whoever gives lent
 * buffers back (another thread, in any order).  README.md beside this file
 * says what is checked, within which bounds, and what is left out.
 *
 * Switches:
 *   CAP, PACKETS      length of a buffer, and how many packets arrive at most
 *   KERNEL_PATCH      the kernel of patches/freebsd-src/
 *   RESETS            how often the reader empties the descriptor (BIOCFLUSH,
 *                     BIOCSETF, BIOCSDLT)
 * and these make a reader or a kernel that is wrong, and must be found out:
 *   NO_PEEK           never looks into the store buffer (the stall)
 *   NO_POISON         doesn't know whether the store buffer has anything new
 *   NO_SECOND_LOOK    doesn't look at the generation again after FIONREAD
 *   NO_SECOND_TURN    doesn't ask for a rotation again when the look into the
 *                     store buffer gave nothing
 *   STALE_HELD        doesn't look again whether the user has the other buffer
 *   HELD_BY_FLAG      goes by the user's own flag for that, which tells later
 *   NO_NEW_START      goes on with the other buffer where it was with this one
 *   EARLY_FLAG        says that a buffer is back before it is
 *   LATE_POISON       gives a buffer back, and marks it then
 *   KEEP_CONSUMED     (RESETS) forgets that the store buffer was emptied
 *   ALWAYS_FROM_START (RESETS) believes that it always is
 */
#ifndef CAP
#define CAP	3
#endif
#ifndef PACKETS
#define PACKETS	5
#endif
#ifndef RESETS
#define RESETS	0
#endif

#define NONE	2
#define OTHER(b)	(1 - (b))

/*
 * What both sides can write: two buffers and the header of each.
 *
 * A record is one or two cells.  Its first cell, which stands for struct
 * bpf_xhdr, is the packet's number times four plus the record's length, and
 * never 0, as bh_hdrlen never is; a second cell is the number times four plus
 * three.  A cell that doesn't belong where it is found is thus told apart.
 * Generations are compared for equality only, so that two bits will do.
 */
byte cell[2 * CAP];
byte kernel_gen[2], kernel_len[2], user_gen[2];

/* struct bpf_d and ZBUF_FLAG_ASSIGNED: the kernel's alone, under BPFD_LOCK. */
bool locked = false;
byte sbuf = 0, hbuf = NONE, fbuf = 1;
byte slen = 0, hlen = 0;
bool assigned[2];

/* The user's own flag for "this buffer is lent", which both its threads see. */
bool lent[2];

/*
 * What an observer counts.  Packets are numbered as they are accepted, so that
 * "exactly once and in order" is: each number is one more than the last.  A
 * packet that the reader threw away counts as delivered when its turn comes.
 */
byte sent = 0, accepted = 0, dropped = 0, delivered = 0;
#if RESETS > 0
byte in_store = 0;			/* packets in the store buffer */
bool discarded[PACKETS + 2];
#endif
bool silence = false;			/* no more packets will come */

#define ACKNOWLEDGED(b)	(kernel_gen[b] == user_gen[b])

/*
 * catchpacket() and, with our patch, bpf_reclaim(): an acknowledged hold
 * buffer becomes the free one (bpf_zerocopy_canfreebuf(),
 * bpf_zerocopy_buf_reclaimed()).  hbuf is never NONE here if fbuf is: the two
 * buffers are always in two of the three places.
 */
#define CAN_RECLAIM	(fbuf == NONE && ACKNOWLEDGED(hbuf))

inline reclaim()
{
	assigned[hbuf] = false;
	fbuf = hbuf;
	hbuf = NONE;
	hlen = 0
}

/* ROTATE_BUFFERS() without the bpf_bufheld() at its end. */
inline rotate()
{
	assert(fbuf != NONE && hbuf == NONE);
	hbuf = sbuf;
	hlen = slen;
	sbuf = fbuf;
	slen = 0;
#if RESETS > 0
	in_store = 0;
#endif
	fbuf = NONE
}

/* bpf_zerocopy_bufheld() and bpf_zerocopy_buffull(): length, then generation. */
inline hand_over(b, length)
{
	if
	:: !assigned[b] ->
		assigned[b] = true;
		kernel_len[b] = length;
		kernel_gen[b] = (kernel_gen[b] + 1) % 4
	:: else
	fi
}

/* One cell of bpf_zerocopy_append_bytes() or _append_mbuf(). */
inline put(at, value)
{
	atomic {
		assert(ACKNOWLEDGED(sbuf) && !assigned[sbuf]);
		cell[sbuf * CAP + at] = value
	}
}

/*
 * Packets that have passed the filter: catchpacket(), under BPFD_LOCK from
 * bpf_tap() or bpf_mtap().  There may be fewer than PACKETS.
 */
proctype kernel()
{
	byte size;

	do
	:: sent < PACKETS ->
		atomic {
			!locked -> locked = true;
			sent++;
			if
			:: size = 1
			:: size = 2
			fi
		}
		atomic {
			if
			:: CAN_RECLAIM -> reclaim()
			:: else
			fi
		}
		if
		:: slen + size > CAP || assigned[sbuf] ->
			if
			:: fbuf == NONE ->
				/* No room and no hope of room. */
				hand_over(sbuf, slen);
				atomic {
					dropped++;
					locked = false
				};
				goto next
			:: else ->
				atomic { rotate() };
				hand_over(hbuf, hlen)
			fi
		:: else
		fi;
		put(slen, (accepted + 1) * 4 + size);
		if
		:: size == 2 -> put(slen + 1, (accepted + 1) * 4 + 3)
		:: else
		fi;
		atomic {
			slen = slen + size;
#if RESETS > 0
			in_store++;
#endif
			accepted++;
			locked = false
		};
next:		skip
	:: break
	od;
	silence = true
}

/* Our patch: bpf_reclaim(), at the beginning of bpfioctl(). */
inline patched_reclaim()
{
#ifdef KERNEL_PATCH
	atomic {
		!locked;
		do
		:: CAN_RECLAIM ->
			reclaim();
			if
			:: assigned[sbuf] -> rotate()
			:: else
			fi
		:: else -> break
		od
	}
#else
	skip
#endif
}

/* BIOCROTZBUF: bpf_zerocopy_ioctl_rotzbuf().  What it returns is not used. */
inline ioctl_rotzbuf()
{
	patched_reclaim();
	atomic {
		!locked;
		if
		:: hbuf == NONE && slen != 0 ->
			rotate();
			hand_over(hbuf, hlen)
		:: else
		fi
	}
}

/* FIONREAD in bpfioctl(). */
inline ioctl_fionread(n)
{
	patched_reclaim();
	atomic {
		!locked;
		n = slen;
		if
		:: hbuf != NONE -> n = n + hlen
		:: else
		fi
	}
}

#if RESETS > 0
inline skip_discarded()
{
	do
	:: discarded[delivered + 1] -> delivered++
	:: else -> break
	od
}

/* BIOCFLUSH and others: reset_d(). */
inline ioctl_flush()
{
	patched_reclaim();
	atomic {
		!locked;
		if
		:: hbuf != NONE && ACKNOWLEDGED(hbuf) -> reclaim()
		:: else
		fi;
		if
		:: !assigned[sbuf] ->
			do
			:: in_store > 0 ->
				in_store--;
				if
				:: accepted - in_store > delivered ->
					discarded[accepted - in_store] = true
				:: else
				fi
			:: else -> break
			od;
			slen = 0;
			skip_discarded()
		:: else
		fi
	}
}
#endif

/*
 * The reader hands over the complete records of cur from consumed up to end.
 * Each cell is read in a step of its own: the kernel may be writing.
 */
inline deliver(end)
{
	do
	:: consumed < end ->
		atomic {
			assert(consumed < CAP);
			record = cell[cur * CAP + consumed];
			assert((record & 3) == 1 || (record & 3) == 2)
		};
		if
		:: consumed + (record & 3) > end -> break
		:: else
		fi;
		if
		:: (record & 3) == 2 ->
			atomic {
				assert(consumed + 1 < CAP);
				assert(cell[cur * CAP + consumed + 1] == (record | 3))
			}
		:: else
		fi;
		atomic {
			assert((record >> 2) == delivered + 1);
			delivered++;
#if RESETS > 0
			skip_discarded();
#endif
			consumed = consumed + (record & 3);
			some = true
		}
	:: else -> break
	od
}

/*
 * Giving a buffer back: its first record's header length becomes 0, which
 * tells the reader later that the kernel has written nothing there since; then
 * the kernel may have it; then the reader may look at it again.
 */
inline give_back(b)
{
#ifdef EARLY_FLAG
	lent[b] = false;
#endif
#if !defined(NO_POISON) && !defined(LATE_POISON)
	atomic {
		assert(!ACKNOWLEDGED(b));
		cell[b * CAP] = 0
	};
#endif
	user_gen[b] = kernel_gen[b];
#ifdef LATE_POISON
	cell[b * CAP] = 0;
#endif
	lent[b] = false
}

/* The thread that gives back what is lent, when it likes, in any order. */
proctype release()
{
	byte b;

end:	do
	:: atomic { lent[0] -> b = 0 }; give_back(b)
	:: atomic { lent[1] -> b = 1 }; give_back(b)
	od
}

#define OURS	(!ACKNOWLEDGED(cur))
#ifdef HELD_BY_FLAG
#define HELD	lent[OTHER(cur)]
#else
#define HELD	(!ACKNOWLEDGED(OTHER(cur)))
#endif

/*
 * The reader.  One way from "try" to "try" is a call whose deadline has passed,
 * or of a handle that doesn't block.  A call before its deadline does the
 * first two steps of it only.
 */
proctype reader()
{
	byte cur = 0;		/* the buffer that must come next */
	byte consumed = 0;	/* what of it has been handed over already */
	byte last = 0;		/* kernel_len of the buffer taken last */
	byte before, s, record;
	bool held;		/* the other buffer is not back yet */
	bool some, over, free_before;
	byte turns;
#if RESETS > 0
	byte resets = 0;
	byte first = 0;		/* what was seen first in cur */
#endif

try:
#if RESETS > 0
	if
	:: resets < RESETS ->
		resets++;
		ioctl_flush();
#ifdef KEEP_CONSUMED
		skip
#else
		/*
		 * A buffer that was handed over by then is not emptied: if
		 * its first record is the one that was seen there, consumed
		 * still holds.
		 */
		if
#ifndef ALWAYS_FROM_START
		:: OURS && cell[cur * CAP] == first
#endif
		:: else -> consumed = 0
		fi
#endif
	:: true
	fi;
#endif
	atomic {
		before = accepted;
		over = silence;
		free_before = !lent[0] && !lent[1];
		some = false;
		turns = 0
	};
again:	atomic {
		turns++;
		assert(turns <= 2)	/* a try ends */
	};
	/*
	 * PCAP_ERROR_ZC_HELD: nothing can be had until cur is given back.
	 */
	atomic { !lent[cur] };
	held = HELD;
	if
	:: OURS -> goto take
	:: else
	fi;
#ifndef NO_POISON
	/*
	 * The kernel hasn't begun to write there: there is nothing to be had,
	 * and no need to ask it.  This alone tells a store buffer from the hold
	 * buffer when both were full, both were acknowledged and no packet has
	 * come since.
	 */
	if
	:: consumed == 0 && cell[cur * CAP] == 0 -> goto nothing
	:: else
	fi;
#endif
	/*
	 * There's nothing to rotate to while the user has the other buffer.
	 * He may have given it back since that was looked up.
	 */
	if
	:: !held ->
		ioctl_rotzbuf();
		if
		:: OURS -> goto take
		:: else
		fi
	:: else
	fi;
#ifndef NO_PEEK
#ifdef NO_NEW_START
ask:	skip;
#endif
	ioctl_fionread(s);
#ifndef NO_SECOND_LOOK
	/* If not, cur is the store buffer, and was when FIONREAD counted. */
	if
	:: OURS -> goto take
	:: else
	fi;
#endif
	/*
	 * Less than last: there is no hold buffer.  Else there may be none
	 * either: then the difference is less than the store buffer's length,
	 * which is safe.
	 */
	if
	:: s >= last -> s = s - last
	:: else
	fi;
#if RESETS > 0
	if
	:: consumed == 0 && s > 0 -> first = cell[cur * CAP]
	:: else
	fi;
#endif
	deliver(s);
	if
	:: some -> goto try
	:: else
	fi;
#ifndef NO_SECOND_TURN
	/*
	 * A packet may have come between and freed the hold buffer; but not if
	 * the user has still got that.
	 */
#ifndef STALE_HELD
	held = HELD;
#endif
	if
	:: !held -> ioctl_rotzbuf()
	:: else
	fi;
	/* Also if held: the kernel may have handed over both since. */
	if
	:: OURS -> goto take
	:: else
	fi;
#endif
#endif
	goto nothing;

take:	deliver(kernel_len[cur]);
	assert(consumed == kernel_len[cur]);
	last = kernel_len[cur];
	consumed = 0;
#if RESETS > 0
	first = 0;
#endif
	if
	:: some ->
		lent[cur] = true;
		cur = OTHER(cur);
		goto try
#ifndef NO_PEEK
	:: else ->
		/* All of it was handed over before: not worth a return. */
		give_back(cur);
		cur = OTHER(cur);
#ifdef NO_NEW_START
		goto ask
#else
		goto again
#endif
#endif
	fi;

nothing:
	/*
	 * Nothing is stranded: who is told that there is nothing has all that
	 * the kernel had accepted when he began to ask.
	 */
#if defined(KERNEL_PATCH) && defined(NO_PEEK)
	/* A rotation needs a free buffer: once none is lent any more. */
	if
	:: !free_before -> goto try
	:: else
	fi;
#endif
	assert(delivered >= before);
	if
	:: over -> assert(delivered + dropped == sent)
	:: else -> goto try
	fi
}

init {
	atomic {
		run kernel();
		run reader();
		run release()
	}
}
