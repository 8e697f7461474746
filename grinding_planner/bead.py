def plan_bead(*a): raise NotImplementedError
