//! What a database's pages are, in digests. Pure: bytes in, digests out.
//!
//! ```text
//! leaf(n) = first 16 bytes of BLAKE3(n as u32 little endian, page n)
//! root    = BLAKE3(page size as u32 LE, page count as u32 LE, leaf(1), leaf(2), ...)
//! ```
//!
//! The root names the whole content: backup writes it into the manifest, restore compares it before anything is
//! replaced.

/// Bytes of a leaf.
pub const LEAF_BYTES: usize = 16;

/// The digest of a page at its place.
pub type Leaf = [u8; LEAF_BYTES];

/// The digest of one page at its place; page numbers begin at 1.
#[must_use]
pub fn leaf(number: u32, page: &[u8]) -> Leaf {
    // In one piece: given in two, the page would lie across the hash's chunks, and it would take them one by one instead of
    // side by side: ten times as long.
    let mut bytes = Vec::with_capacity(size_of_val(&number) + page.len());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(page);
    let mut leaf = [0; LEAF_BYTES];
    leaf.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..LEAF_BYTES]);
    leaf
}

/// Takes pages in order and gives the root.
pub struct Root {
    hasher: blake3::Hasher,
    next: u32,
    page_count: u32,
}

impl Root {
    /// Begins the root of a database of `page_count` pages of `page_size` bytes.
    #[must_use]
    pub fn new(page_size: u32, page_count: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&page_size.to_le_bytes());
        hasher.update(&page_count.to_le_bytes());
        Self { hasher, next: 1, page_count }
    }

    /// Takes the next page.
    pub fn push(&mut self, page: &[u8]) {
        self.push_leaf(&leaf(self.next, page));
    }

    /// Takes the next page's leaf.
    pub fn push_leaf(&mut self, leaf: &Leaf) {
        self.hasher.update(leaf);
        self.next = self.next.saturating_add(1);
    }

    /// The root in hex, or nothing if pages are missing or too many.
    #[must_use]
    pub fn finish(self) -> Option<String> {
        (self.next.checked_sub(1) == Some(self.page_count)).then(|| self.hasher.finalize().to_hex().to_string())
    }
}

/// The root of these leaves.
#[must_use]
pub fn root_of(page_size: u32, leaves: &[Leaf]) -> Option<String> {
    let mut root = Root::new(page_size, u32::try_from(leaves.len()).ok()?);
    leaves.iter().for_each(|leaf| root.push_leaf(leaf));
    root.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(pages: &[&[u8]], count: u32) -> Option<String> {
        let mut root = Root::new(4, count);
        pages.iter().for_each(|page| root.push(page));
        root.finish()
    }

    #[test]
    fn a_root_names_content_and_order() {
        let base = root(&[b"aaaa", b"bbbb"], 2).expect("complete");
        assert_ne!(base, root(&[b"bbbb", b"aaaa"], 2).expect("complete"), "swapped pages");
        assert_ne!(base, root(&[b"aaaa", b"bbbc"], 2).expect("complete"), "changed page");
        assert_ne!(leaf(1, b"aaaa"), leaf(2, b"aaaa"), "the same page elsewhere");
        // Fixed for ever: stored manifests hold such roots.
        assert_eq!(base, "dd8f8a2c940992ad592a5d05894ca988915f160575efbf699034526608e75fa3");
    }

    #[test]
    fn leaves_give_the_root_of_their_pages() {
        let leaves = [leaf(1, b"aaaa"), leaf(2, b"bbbb")];
        assert_eq!(root_of(4, &leaves), root(&[b"aaaa", b"bbbb"], 2));
    }

    #[test]
    fn a_missing_or_extra_page_has_no_root() {
        assert_eq!(root(&[b"aaaa"], 2), None);
        assert_eq!(root(&[b"aaaa", b"bbbb", b"cccc"], 2), None);
    }
}
