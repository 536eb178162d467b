//! Encryption at rest: what is in the journal's files cannot be read by whoever has the files and
//! not the key.
//!
//! A *master key* (32 bytes, see [`Keyring`]) encrypts nothing itself. Each file that is encrypted
//! has its own *file key*: HKDF-SHA256 of the master key, with a salt of 24 random bytes and the
//! file's place in the journal. Key id and salt stand in the file's header, in the clear. With the file
//! key AES-256-GCM encrypts each record of a segment, and each frame of a checkpoint, by itself,
//! because payloads are read one by one at any position.
//!
//! Checksums are those of what is on the disk. So a torn tail, damage, and the end of the journal
//! are told from one another without a key, by the same code as in a plain journal.
//!
//! # No key and nonce are ever used for two plaintexts
//!
//! A nonce is a number: the LSN of a record, the running number of a frame. The file key is
//! HKDF(master key, salt, purpose, epoch, number), so it is enough that *within one salt, purpose,
//! epoch and number* each nonce is used once.
//!
//! - *One tenure.* A tenure draws one salt when it begins (`TenureCipher`), for all its segments;
//!   the key of each segment follows from it and the segment's number, so that a record can be
//!   encrypted where its segment is not prepared yet. An LSN is given and its record encrypted in one step under one lock
//!   (`Pending::append`, `Batch::push`), and LSNs only grow in a tenure. The ciphertext stays in
//!   the batch from then on: whatever is written, read back while it waits, written again, in
//!   whatever order batches fly, is these bytes. A segment that could not be prepared and is made
//!   again under its old name changes nothing: it has the same key and gets other LSNs, or those very bytes.
//! - *Two tenures, one LSN.* A deposed active may still write, late, records with LSNs that its
//!   successor gives, too. It does so into its own segments (name and key have its epoch) with its own
//!   salt. Two brokers in the same epoch do not exist, because a claim is created exclusively; should
//!   somebody delete claims, or restore an old copy of the directory so that an epoch comes again,
//!   the salts still differ.
//! - *Takeover.* The successor writes the last batches of its predecessor once more: the same
//!   bytes, never decrypted and encrypted again.
//! - *After a crash* nobody appends to a file: a new tenure has new segments and a new salt.
//! - *Moves* append a message as a new record, with a new LSN. *Salvage* is a tenure like others.
//! - *Checkpoints* draw a salt for each file (`CheckpointCipher`), each attempt anew, and number
//!   their frames.
//! - The records that say where an epoch was sealed, and the frames that tools need without a key
//!   (head, tenures, end), are authenticated and not encrypted: the tag is computed over them, with the
//!   nonce of their number and an empty plaintext.
//!
//! What remains is that a random generator gives 24 bytes twice for the same epoch and segment.
//! One file key encrypts less than 2^27 blocks (a segment has 1 GiB, its last record 256 MiB), far from
//! where AES-GCM gets weak.
//!
//! # What is bound
//!
//! An encrypted record cannot be changed, moved to another segment or epoch (another key), nor take the place of
//! another one (its LSN is the nonce); a frame neither. What an attacker who can write into the
//! directory still can do is remove or bring back whole files and ends of files, claim an epoch, damage things, or
//! write plain files of his own: those are read too, because a plain journal may become an encrypted one.
//! Encryption does not make the directory trustworthy, it keeps its contents secret.

mod checkpoint;
mod file;
mod header;
mod keyring;
mod record;
mod source;
mod tenure;

pub(crate) use self::checkpoint::{CheckpointCipher, FramePlace};
pub(crate) use self::file::{FileKey, TAG_BYTES};
pub(crate) use self::header::{CIPHER_HEADER_BYTES, CipherHeader};
pub use self::keyring::{KEY_BYTES, KeyError, KeyId, Keyring, MasterKey, random_key};
pub(crate) use self::record::{RECORD_CHANGED, RecordCipher};
pub(crate) use self::source::{CipherError, Ciphers, cipher_of, read_header};
pub(crate) use self::tenure::TenureCipher;

#[cfg(test)]
mod tests;
