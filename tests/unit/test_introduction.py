"""Two who share a secret make sure of each other; one in between, or who hears them, gains nothing."""

from modelgrid.domain.introduction import control_proof, node_proof, same, stretched

KEY = stretched("correct horse battery staple")


def test_proofs_are_of_one_key_one_nonce_and_one_certificate() -> None:
    proof = control_proof(KEY, "n" * 32, "f" * 64)
    assert same(proof, control_proof(stretched("correct horse battery staple"), "n" * 32, "f" * 64))
    others = {
        control_proof(stretched("correct horse battery stable"), "n" * 32, "f" * 64),
        control_proof(KEY, "m" * 32, "f" * 64),
        control_proof(KEY, "n" * 32, "e" * 64),  # the certificate of one in between
        node_proof(KEY, "n" * 32, "f" * 64, ""),  # a proof of one side says nothing of the other
    }
    assert len(others) == 4
    assert not any(same(proof, other) for other in others)


def test_a_node_proves_its_name_and_its_certificate() -> None:
    proof = node_proof(KEY, "n" * 32, "worker-a", "PEM")
    assert not same(proof, node_proof(KEY, "n" * 32, "worker-b", "PEM"))
    assert not same(proof, node_proof(KEY, "n" * 32, "worker-a", "another"))
