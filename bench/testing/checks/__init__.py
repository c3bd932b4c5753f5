"""All checks, one function per promise of the contract."""

from bench.testing.check import Check
from bench.testing.checks import batches, generation, latents, likelihood, training

CHECKS: tuple[Check, ...] = (
    training.declarations,
    latents.shapes,
    latents.analytic_kl,
    latents.kl_is_not_negative,
    latents.kl_of_dimensions,
    latents.means_of_samples,
    latents.own_density,
    latents.shared_samples,
    latents.prior_of_itself,
    latents.one_probability,
    latents.one_encoder_pass,
    latents.seeded_samples,
    latents.latents_matter,
    likelihood.first_token,
    likelihood.no_peeking,
    likelihood.source_matters,
    likelihood.rising_bound,
    batches.alone_as_in_a_batch,
    batches.alone_in_single_precision,
    batches.padding_is_not_read,
    batches.scored_in_any_portion,
    batches.decoded_alone_as_in_a_batch,
    generation.one_text_per_sample,
    generation.seeded_texts,
    generation.greedy_is_likeliest,
    generation.sampling_is_fair,
    training.gradients,
    training.learns,
    training.saved_weights,
)
