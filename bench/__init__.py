"""Side by side with peers on this machine: what is measured alternates within one run, and results are ratios."""
