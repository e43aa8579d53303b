"""Ways of being wrong that the tests must notice, across the rooms; `tests.tools.mutants` tries them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True)
class Mutant:
    """A way of being wrong.

    Args:
        name: Short and unique.
        before: A snippet that stands once in the searched folders.
        after: What takes its place.
        test: That should fail, as pytest names it, in `tests/`.
    """

    name: str
    before: str
    after: str
    test: str


MUTANTS = (
    Mutant(
        "scopes swapped",
        '"prompt": positions < 0, "generated": positions >= 0',
        '"prompt": positions >= 0, "generated": positions < 0',
        "steering/test_places.py::test_an_answer_equals_that_of_hooks_by_hand",
    ),
    Mutant(
        "sink steered",
        "return positions > sink,",
        "return positions >= sink,",
        "steering/test_hooks.py::test_padding_on_the_left_and_the_first_real_token_after_it_are_not_steered",
    ),
    Mutant(
        "padding taken for text",
        "seen.argmax(1, keepdim=True)",
        "(0 * seen.argmax(1, keepdim=True))",
        "steering/test_hooks.py::test_padding_on_the_left_and_the_first_real_token_after_it_are_not_steered",
    ),
    Mutant(
        "cache not counted",
        "return int(cache.get_seq_length())",
        "return 0",
        "steering/test_places.py::test_an_answer_equals_that_of_hooks_by_hand",
    ),
    Mutant(
        "hooks left on the model",
        "            handle.remove()\n        self._handles.clear()\n        self._sites.clear()",
        "            pass\n        self._handles.clear()\n        self._sites.clear()",
        "steering/test_hooks.py::test_the_model_is_as_it_was_after_the_block",
    ),
    Mutant(
        "other threads steered",
        "if not self._presence.here():\n            return None",
        "if False:\n            return None",
        "steering/test_hooks.py::test_a_copy_that_is_made_inside_the_block_is_steered_until_the_block_ends",
    ),
    Mutant(
        "hook last in line",
        "register_forward_hook(hook, prepend=True)",
        "register_forward_hook(hook)",
        "steering/test_hooks.py::test_recorded_hidden_states_show_the_steered_stream_even_if_their_hooks_came_first",
    ),
    Mutant(
        "beams mixed up",
        "tensor.repeat_interleave(copies, 0)",
        "tensor.repeat(copies, *[1] * (tensor.ndim - 1))",
        "steering/test_hooks.py::test_beams_have_the_tone_of_their_row",
    ),
    Mutant(
        "cast to the stream missing",
        "_delta(site.vectors, gain).to(hidden.dtype))",
        "_delta(site.vectors, gain))",
        "steering/test_hooks.py::test_the_delta_takes_the_dtype_of_the_stream",
    ),
    Mutant(
        "ablation adds",
        "site.level.unsqueeze(-2) - site.hold",
        "site.level.unsqueeze(-2) + site.hold",
        "steering/test_operations.py::test_ablation_leaves_nothing_along_the_direction_after_any_layer",
    ),
    Mutant(
        "layers not shared",
        "sum(map(abs, dose.weights)) / len(layers)",
        "sum(map(abs, dose.weights))",
        "steering/test_plan.py::test_chosen_layers_share_the_weights_of_the_dose_evenly",
    ),
    Mutant(
        "decay to base e",
        "/ self.half_life).exp2()",
        "/ self.half_life).exp()",
        "steering/test_schedules.py::test_a_schedule_equals_its_closed_form",
    ),
    Mutant(
        "window one longer",
        "< self.stop)).to(",
        "<= self.stop)).to(",
        "steering/test_schedules.py::test_a_schedule_equals_its_closed_form",
    ),
    Mutant(
        "arousal turned round",
        "AROUSAL * affect.arousal",
        "-AROUSAL * affect.arousal",
        "steering/test_affect.py::test_strengths_are_what_the_ratings_say",
    ),
    Mutant(
        "thermostat runs away",
        "state.deficit + self._levels - scores",
        "state.deficit - self._levels + scores",
        "steering/test_thermostat.py::test_strengths_are_what_is_missing_added_up",
    ),
    Mutant(
        "said words favoured again",
        "said = ids[:, self._length :]",
        "said = ids[:, :0]",
        "steering/test_recipes.py::test_a_recipe_decodes_as_by_hand",
    ),
    Mutant(
        "said words no longer avoided",
        "bonus.gather(1, said).clamp(max=0)",
        "0 * bonus.gather(1, said)",
        "steering/test_recipes.py::test_what_a_negative_strength_avoids_stays_avoided_once_it_was_said",
    ),
    Mutant(
        "reminder left out",
        "if users and reminder:",
        "if False:",
        "steering/test_asking.py::test_the_last_message_of_the_user_ends_with_a_reminder_of_the_tone",
    ),
    Mutant(
        "worst draft kept",
        "ranked.index(max(ranked))",
        "ranked.index(min(ranked))",
        "steering/test_drafts.py::test_the_draft_that_is_read_as_most_in_the_tone_is_returned",
    ),
    Mutant(
        "vocabulary of another head",
        "kept is None or kept.state != state",
        "kept is None",
        "steering/test_vocabulary.py::test_a_model_that_changed_is_asked_again",
    ),
    Mutant(
        "hooks anew at every token",
        "((call and call.until_end) or this_pass)",
        "this_pass",
        "steering/test_logits_processor.py::test_hooks_and_the_stance_of_torch_are_set_once_in_a_call_of_generate",
    ),
    Mutant(
        "guidance from the wrong end",
        "torch.lerp(plain, toned, self.guidance)",
        "torch.lerp(toned, plain, self.guidance)",
        "steering/test_logits_processor.py::test_scores_and_tokens_of_a_padded_batch_equal_two_uncached_passes_over_each_row_alone",
    ),
    Mutant(
        "sink pooled",
        "if i > 0 and ids[i] not in special",
        "if ids[i] not in special",
        "models/test_activations.py::test_without_special_tokens_the_first_token_of_the_text_does_not_count",
    ),
    Mutant(
        "last pools the first",
        "(content * positions).argmax(1)",
        "content.argmax(1)",
        "models/test_activations.py::test_states_and_norms_are_those_of_every_text_read_alone",
    ),
    Mutant(
        "padding in the norms",
        "* weights).sum(1) / weights.sum(1)",
        "* weights).sum(1) / weights.shape[1]",
        "models/test_activations.py::test_states_and_norms_are_those_of_every_text_read_alone",
    ),
    Mutant(
        "fingerprint of the dtype",
        "values.to(torch.bfloat16).cpu()",
        "values.cpu()",
        "vectors/test_emotion_vectors.py::test_the_fingerprint_is_of_the_weights_whatever_their_dtype",
    ),
    Mutant(
        "seed ignored",
        ".manual_seed(seed).get_state()",
        ".manual_seed(0).get_state()",
        "model/test_model.py::test_a_seed_repeats_the_answer_and_leaves_the_global_random_state",
    ),
    Mutant(
        "answers beyond the context",
        "min(MAX_NEW_TOKENS, room)",
        "MAX_NEW_TOKENS",
        "model/test_model.py::test_an_answer_is_as_long_as_a_context_of_learned_positions_allows",
    ),
    Mutant(
        "any list is the blocks",
        "isinstance(child, nn.ModuleList) and len(child) == depth",
        "isinstance(child, nn.ModuleList)",
        "layers/test_layers.py::test_a_model_whose_blocks_stand_in_no_list_of_that_length_is_refused",
    ),
    Mutant(
        "zero elsewhere",
        'bias = -torch.einsum("ld,ldc->c"',
        'bias = torch.einsum("ld,ldc->c"',
        "reading/test_readout.py::test_scores_equal_those_worked_out_by_hand",
    ),
    Mutant(
        "tokens taken for independent",
        ".inertia / len(counted)).sqrt()",
        ".inertia**0 / len(counted)).sqrt()",
        "reading/test_readout.py::test_uncertainty_is_that_of_a_mean_of_tokens_that_resemble_their_neighbours",
    ),
    Mutant(
        "temperature multiplies",
        "(scores[0] / temperature)",
        "(scores[0] * temperature)",
        "reading/test_explain.py::test_temperature_is_that_of_sampling",
    ),
    Mutant(
        "digest not checked",
        "if hashlib.sha256(data).hexdigest() != self.config.digests[name]:",
        "if False:",
        "vectors/test_format.py::test_one_flipped_bit_in_a_tensor_that_is_read_is_an_error",
    ),
    Mutant(
        "header of any length",
        "if length > MAX_HEADER or length > size - 8:",
        "if length > size - 8:",
        "vectors/test_format.py::test_a_header_of_16_mib_is_read_and_one_byte_more_is_refused",
    ),
    Mutant(
        "keys twice in JSON",
        "if len(result) != len(pairs):",
        "if False:",
        "vectors/test_format.py::test_keys_that_stand_twice_are_an_error_wherever_they_are",
    ),
    Mutant(
        "seal not checked",
        "if seal is not None and seal not in",
        "if False and seal not in",
        "vectors/test_format.py::test_no_value_of_the_config_can_be_changed_unnoticed",
    ),
    Mutant(
        "dose in other units",
        "[dose.dose * weight * norms[row] for row, weight in",
        "[dose.dose * weight for row, weight in",
        "vectors/test_emotion_vectors.py::test_deltas_are_dose_times_weight_times_norm_times_direction",
    ),
    Mutant(
        "mixture in other units",
        "shares = total.norm(dim=-1) / ",
        "shares = total.norm(dim=-1) + 0 * ",
        "vectors/test_emotion_vectors.py::test_an_added_emotion_at_strength_1_is_what_its_mixture_adds",
    ),
    Mutant(
        "card loses text",
        'return f"{text[: place.start]}{body}',
        'return f"{body}',
        "vectors/test_card.py::test_what_people_wrote_stays_in_front_matter_and_body",
    ),
    Mutant("card holds HTML", 'r"[&<>@]"', 'r"[&@]"', "vectors/test_card.py::test_nothing_of_a_file_acts_in_the_card"),
    Mutant(
        "push over others' work",
        "parent_commit=head.commit",
        "parent_commit=None",
        "hub/test_hub.py::test_a_push_in_between_is_a_conflict_and_not_lost",
    ),
    Mutant(
        "push deletes others' files",
        "if name in names and name not in files) if ours else []",
        "if name in names and name not in files)",
        "hub/test_hub.py::test_files_of_somebody_else_stay",
    ),
    Mutant(
        "ranges ignored by the server",
        "before = 0 if response.status_code == 206 else at",
        "before = 0",
        "hub/test_hub.py::test_a_server_that_ignores_ranges",
    ),
    Mutant(
        "no contrast",
        "return means - means.mean(0)",
        "return means",
        "extraction/test_extraction.py::test_a_method_finds_the_planted_directions",
    ),
    Mutant(
        "component of the class alone",
        "states[labels == i] - others[i]",
        "states[labels == i] - means[i]",
        "extraction/test_extraction.py::test_a_method_finds_the_planted_directions",
    ),
    Mutant(
        "neutral components kept",
        "return rows - rows @ basis.T @ basis",
        "return rows",
        "extraction/test_transfer.py::test_in_another_basis_of_the_same_model_every_direction_arrives",
    ),
    Mutant(
        "power law upside down",
        "(cost / factor) ** (1 / self.exponent)",
        "(cost / factor) ** self.exponent",
        "calibration/test_calibration.py::test_costs_without_noise_are_found_exactly",
    ),
    Mutant(
        "costs not drawn together",
        "mean + kept * (factors - mean)",
        "mean + (factors - mean)",
        "calibration/test_calibration.py::test_factors_are_drawn_together_where_only_noise_tells_them_apart",
    ),
    Mutant(
        "ratings from 0 to 1",
        "(2 * rating - low - high) / (high - low)",
        "(rating - low) / (high - low)",
        "eval/test_norms.py::test_published_forms_are_known_by_their_columns",
    ),
    Mutant(
        "component of either sign",
        "sign = -1 if unsigned and value < 0 else 1",
        "sign = 1",
        "eval/test_alignment_statistics.py::test_component_correlations_are_numpys_without_their_sign",
    ),
    Mutant(
        "chance not taken off",
        "- by_chance) / (1 - by_chance)",
        "- by_chance)",
        "eval/test_judges.py::test_agreement_is_cohens_kappa_and_the_correlation_of_probabilities",
    ),
    Mutant(
        "first token not scored",
        "targets[i, len(prompt) : len(row)] = ids[i, len(prompt) : len(row)]",
        "targets[i, len(prompt) + 1 : len(row)] = ids[i, len(prompt) + 1 : len(row)]",
        "eval/test_steering.py::test_an_instructed_answer_costs_what_it_costs_after_the_question_alone",
    ),
    Mutant(
        "held-out texts learned from",
        'both[name.removeprefix("held_out_") if name != "held_out" else "sentences"]',
        "()",
        "concepts/test_concepts.py::test_a_text_that_one_set_holds_out_and_the_other_learns_from_is_kept_once",
    ),
    Mutant(
        "coefficient ignored",
        "factor * torch.stack(",
        "torch.stack(",
        "importing/test_importing.py::test_strength_one_is_the_producers_coefficient",
    ),
    Mutant(
        "any size unpacked",
        "sum(entry.file_size for entry in entries)) > MAX_BYTES",
        "sum(entry.file_size for entry in entries)) < 0",
        "importing/test_importing.py::test_a_zip_bomb_is_not_unpacked",
    ),
    Mutant(
        "removing taken for adding",
        "if name in _OPERATION and text not in _OFF and not _ADDED.fullmatch(text):",
        "if False:",
        "importing/test_meaning.py::test_a_file_for_something_else_is_refused",
    ),
    Mutant(
        "negative layer taken for another",
        'if found["layer"].startswith("-"):',
        "if False:",
        "importing/test_meaning.py::test_any_other_name_is_refused_in_one_line",
    ),
    Mutant(
        "any number a layer",
        'f"{_EMOTION}[./]{_NUMBER}",',
        'f"{_EMOTION}[._/]?{_NUMBER}",',
        "importing/test_meaning.py::test_any_other_name_is_refused_in_one_line",
    ),
    Mutant(
        "a model's config replaced",
        "if _is_file(path) and not is_own(path):",
        "if False:",
        "vectors/test_own_files.py::test_a_models_folder_is_left_as_it_was",
    ),
    Mutant(
        "a model's repository replaced",
        "if found := [*replaced, *weights]:",
        "if found := []:",
        "hub/test_hub.py::test_whatever_model_a_repository_holds_it_is_left_alone",
    ),
    Mutant(
        "reports of other vectors kept",
        "CARD_FILE: text.encode()}, without=stale)",
        "CARD_FILE: text.encode()})",
        "vectors/test_own_files.py::test_reports_on_other_vectors_go_with_those",
    ),
    Mutant(
        "a calibration lost",
        "if not kept and name not in records and is_own(folder / name)",
        "if False",
        "cli/test_places.py::test_records_are_not_left_beside_other_vectors",
    ),
    Mutant(
        "bias gain ignored",
        "deltas[layer].to(bias.device) / gain",
        "deltas[layer].to(bias.device)",
        "export/test_baked.py::test_a_baked_model_says_what_hooks_at_every_token_make_the_model_say",
    ),
    Mutant(
        "control vector a layer late",
        'f"direction.{layer}", delta',
        'f"direction.{layer + 1}", delta',
        "export/test_gguf.py::test_a_mix_is_the_sum_of_what_steering_adds",
    ),
    Mutant(
        "terminal obeys a file",
        'c if c.isprintable() or c in "\\n\\t" else "�"',
        "c",
        "cli/test_cli.py::test_control_characters_do_not_reach_the_terminal",
    ),
    Mutant(
        "page obeys a text",
        'html.escape(UNPRINTABLE.sub("\\N{REPLACEMENT CHARACTER}", text), quote=True)',
        'UNPRINTABLE.sub("\\N{REPLACEMENT CHARACTER}", text)',
        "demo/test_figures.py::test_no_text_becomes_markup",
    ),
    Mutant(
        "model's own length ignored",
        "for source in (options, config, own):",
        "for source in (options, config):",
        "model/test_generate_arguments.py::test_a_length_that_somebody_set_holds_at_every_door",
    ),
    Mutant(
        "cut told as ended",
        'return "length"',
        'return "stop"',
        "model/test_generate_arguments.py::test_an_answer_says_why_it_ended",
    ),
    Mutant(
        "thoughts streamed",
        '"streamer": _OfAnswer(streamer, reply),',
        '"streamer": _OfAnswer(streamer, Reply(None)),',
        "model/test_thoughts.py::test_a_stream_gives_the_pieces_of_the_answer_alone",
    ),
    Mutant(
        "tone in the other part",
        "float(held[column - answer] == self._in_answer)",
        "float(held[column - answer] != self._in_answer)",
        "model/test_thoughts.py::test_a_tone_holds_in_the_thoughts_or_in_the_answer_alone",
    ),
    Mutant(
        "moved messages unnoticed",
        "before <= span[0] <= span[1] <= len(text)",
        "True",
        "models/test_templates.py::test_a_message_with_a_tone_of_its_own_is_found_where_its_words_stand",
    ),
    Mutant(
        "template's own words toned",
        "bounds = [(words[0] or (0, 0))[0], *ends]",
        "bounds = [0, *ends]",
        "models/test_templates.py::test_a_message_with_a_tone_of_its_own_is_found_where_its_words_stand",
    ),
    Mutant(
        "unknown variables dropped",
        "if unknown := [name for name in variables if name not in _template(tokenizer, variables)]:",
        "if unknown := []:",
        "models/test_templates.py::test_tools_reach_the_model_or_are_refused",
    ),
    Mutant(
        "last message left out unnoticed",
        "if text == other:",
        "if False:",
        "models/test_templates.py::test_what_a_template_refuses_is_one_line",
    ),
)
