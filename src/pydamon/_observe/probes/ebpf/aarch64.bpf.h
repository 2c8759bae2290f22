/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Page tables of arm64, with pages of 4, 16 or 64 KiB: PAGE_SHIFT comes from the compiler's command
 * line. The bits are those of the Arm Architecture Reference Manual, "The VMSAv8-64 translation
 * table format descriptors". See PageTables in linux/page_tables.py, which says the same in Python.
 */

#define PRESENT (1ULL << 0)
#define TABLE (1ULL << 1) /* in upper levels: leads to a table */
#define ACCESSED (1ULL << 10)
#define CONTIGUOUS (1ULL << 52) /* it and its neighbours share one entry of the TLB */
#define SPECIAL (1ULL << 56)	/* Linux's: it keeps no account of the page */
#define TO_TABLE (PRESENT | TABLE)
#define KIND TABLE /* what tells a table from a huge page */
#define USER_PTRS PTRS /* the kernel has tables of its own */

/* The shift from the bits of an entry that are the highest of an address to their place in it. */
#if PAGE_SHIFT == 16
#define HIGH_SHIFT 36
#else
#define HIGH_SHIFT 42
#endif

static inline int is_leaf(u64 e)
{
	return e && !(e & TABLE);
}

static inline u64 physical_address(const struct control *c, u64 e)
{
	return (e & c->phys_mask) | (e & c->high_mask) << HIGH_SHIFT;
}

/*
 * The entry, or 0 if it maps nothing. Linux marks an entry that is mapped though not PRESENT, as
 * those of automatic NUMA balancing are, with bit 11 since 6.10, and with bit 58 before.
 */
static inline u64 if_mapped(const struct control *c, u64 e)
{
	return e & (PRESENT | c->absent_mask) ? e : 0;
}

/* What users may know of an entry; bit 11 is set wherever it is mapped but not PRESENT. */
static inline u16 marks_of(const struct control *c, u64 e)
{
	return if_mapped(c, e) & (PRESENT | TABLE | ACCESSED | 1ULL << 11);
}
