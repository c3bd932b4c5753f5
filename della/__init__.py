"""DELLA: layer-wise latent variables fused into the decoder (Hu et al., NAACL 2022)."""
