"""A fleet of virtual devices, the ledger of what they sent, and the verifier that compares it
with what arrived."""
