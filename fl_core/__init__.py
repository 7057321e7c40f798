"""Air-meta-pFL, the learning protocol: pure, seeded, and free of any radio.

The symbols and nouns are those of Wen, Xing and Simeone, "Pre-Training and Personalized
Fine-Tuning via Over-the-Air Federated Meta-Learning" (arXiv 2406.11569); `docs/glossary.md`
lists them side by side.
"""
