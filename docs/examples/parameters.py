"""Control how an answer is generated: randomness, length, stop texts, number of answers."""

from llama_dashscope import Client, Message

with Client() as client:
    reply = client.call(
        "llama3.3-70b-instruct",
        messages=[Message("user", "给一家书店起个名字。")],
        temperature=0.8,  # 0 is the least random
        top_p=0.9,
        seed=7,
        max_tokens=100,
        stop=["\n\n"],
        n=2,
    )

for choice in reply.output.choices or ():
    print(choice.index, choice.finish_reason, choice.message.content)
