"""`azcmagent check`: every endpoint that the agent needs, hop by hop, with what to do about a broken hop."""
