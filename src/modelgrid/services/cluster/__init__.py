"""Several nodes under one control plane: who belongs to it, what it hears and what it orders; and the node's side."""
